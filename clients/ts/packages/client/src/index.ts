/** The client of a Muniment ledger, for browsers and Node. */

export { Code, ConnectError } from '@connectrpc/connect';
export {
  Client,
  type BatchResult,
  type CallOptions,
  type ClientOptions,
  type Filter,
  type Recorded,
  type StreamSubmission,
  type Submission,
  type Watched,
} from './client.js';
export type { Role } from './gen/muniment/v1/admin_pb.js';
export type {
  DecideResponse,
  Explanation,
  FoundEvidence,
  GatePart,
  GateSubject,
  RequirementExplanation,
  SubjectDecision,
  UsedException,
} from './gen/muniment/v1/gate_pb.js';
export type { WhoAmIResponse } from './gen/muniment/v1/identity_pb.js';
export type { Artifact, ControlResult, GateDecision } from './gen/muniment/v1/kinds_pb.js';
export type { Admission, Entry, External, Signer, Subject } from './gen/muniment/v1/ledger_pb.js';
export { ID_TOKEN_VARIABLE, IdentityError, jobIdentity, type Identity } from './identity.js';
export type { RetryOptions } from './retry.js';
export type { Fetch } from './transport.js';
