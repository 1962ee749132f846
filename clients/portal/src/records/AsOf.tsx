import type { LogState } from '../gen/muniment/v1/gate_pb';
import { Time } from '../ui/Time';

/** What an answer is about: the size of the log, and when it had that size. */
export const AsOf = ({ state }: { state: LogState | undefined }) =>
  state === undefined ? null : (
    <>
      {state.treeSize.toLocaleString()} entries of the log, as of <Time at={state.asOf} />
    </>
  );
