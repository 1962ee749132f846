import { Code as Status, ConnectError } from '@connectrpc/connect';
import { Code, Panel } from '../../ui';

/** Reports whether no control set is in force. */
export const isNone = (error: unknown): boolean => error instanceof ConnectError && error.code === Status.NotFound;

export const NoSet = () => (
  <Panel title="No control set is in force">
    <p>Without one, no gate passes anything. Start from a template, and put it in force:</p>
    <Code
      label="commands that put controls in force"
      text={
        'muniment control init --template seed\nmuniment control validate controls.yaml\nmuniment control apply controls.yaml'
      }
    />
  </Panel>
);
