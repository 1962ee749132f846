/** The sentences of warnings (verify.md, section 5). */

/** Maps the code of each warning to its sentence. */
export const WARNINGS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'artifact-not-checked': 'No artifact was given, so it is not known what the signature is about.',
    'completeness-not-checked': 'No stream key was given, so entries could be missing at the end of the stream.',
    'content-not-checked': 'The bytes of the evidence were not checked.',
    erased: 'A part is absent because it was erased, or is said to have been.',
    'evidence-not-checked': 'No stream was given, so the entries that support claims about places were not found.',
    'files-not-checked': 'The files of the export were not given, so nothing is known about them.',
    'licenses-not-decided': 'No list of allowed licences was given.',
    'not-admitted': 'The log recorded the entry although its admission policy did not admit it.',
    'not-recorded': 'No receipt was given, so the export may not be recorded in a log.',
    'not-witnessed': 'The trust policy requires no witness, so the log could show others something else.',
    'other-list': 'The manifest was written for another version of the SPDX list.',
    'reports-not-compared': "The reports in the bundle are its creator's account: this program does not compute them.",
    'residency-not-decided': 'Nothing limits the places where the data may be.',
    'residency-without-evidence': 'A claim about places has no evidence entries.',
    'signature-failed': 'The log states that the signature of the evidence is invalid.',
    'signature-unverified': 'The log did not verify the signature of the evidence.',
    'spends-not-checked': 'No stream was given, so other spends of the privacy budget are not known.',
    'spends-unreadable': 'Spends of privacy budgets cannot be added: an entry could be one, or has no readable amount.',
  }),
);
