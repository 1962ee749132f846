/**
 * Files of the operating system, for Node: configurations, files to verify, and
 * the folders of exports.
 */

export { loadConfiguration } from './configuration.js';
export { openFile, OpenFile } from './file.js';
export { openFolder } from './folder.js';
