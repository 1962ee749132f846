/** Who has done something. */

import type { Person } from '../gen/muniment/v1/portal_pb';
import styles from './records.module.css';
import { Text } from './Text';

/** A submitter by name, or else as headers have it. */
export const Who = ({ person }: { person: Pick<Person, 'id' | 'name'> | undefined }) =>
  person === undefined ? (
    <span className={styles.muted}>no one</span>
  ) : (
    <span title={person.id}>
      <Text>{person.name === '' ? person.id : person.name}</Text>
    </span>
  );

/** Several of them, in one line. */
export const Whos = ({ people }: { people: readonly Pick<Person, 'id' | 'name'>[] }) => (
  <span className={styles.list}>
    {people.map((person) => (
      <Who key={person.id} person={person} />
    ))}
  </span>
);
