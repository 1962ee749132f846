/** The records of the ledger, as views show them. */

export { AsOf } from './AsOf';
export { useDraft } from './draft';
export { Filters, type Filter } from './Filters';
export { ArtifactLink, ControlLink, EntryLink, EntryLinks, ExceptionLink, FindingLink } from './links';
export { Who, Whos } from './people';
export { record } from './record';
export { newKey, refusalOf, type Refusal } from './refusal';
export { Prose, Text } from './Text';
export { count, digestOf, listed, visible } from './text';
export {
  ActionState,
  DecisionState,
  ExceptionState,
  FindingState,
  ResultState,
  Severity,
  VerificationState,
} from './tones';
