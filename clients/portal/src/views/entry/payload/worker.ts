/** The worker that hashes and parses a payload. */

import { Work, type Request, type Response } from './work';

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<Request>) => void;
  postMessage: (message: Response, transfer?: Transferable[]) => void;
};

let work: Work | undefined;
let expected = '';

scope.onmessage = ({ data }) => {
  try {
    if (data.type === 'begin') {
      work = new Work(data.salt, data.size, data.about);
      expected = data.commitment;
    } else if (data.type === 'piece') {
      work?.add(data.bytes);
      scope.postMessage({ type: 'hashed', bytes: data.bytes.length });
    } else if (work !== undefined) {
      scope.postMessage({ type: 'done', result: work.end(expected) });
    }
  } catch (error) {
    scope.postMessage({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
  }
};
