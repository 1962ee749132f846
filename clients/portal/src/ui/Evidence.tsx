import { useState } from 'react';
import { classes } from './classes';
import { visible } from './visible';
import styles from './Evidence.module.css';

/** A text with many hidden characters is shortened as well, so that it cannot stop the page. */
const mostCharacters = 600;

/**
 * A text from evidence, which is untrusted. It is isolated from the text around
 * it, breaks anywhere, and shows characters that are invisible or change the
 * order of others. Long texts are shortened until somebody asks for all of it.
 *
 * @param mono for texts of machines
 */
export function Evidence({
  text,
  mono = false,
  most = mostCharacters,
}: {
  text: string;
  mono?: boolean;
  most?: number;
}) {
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole || text.length <= most ? text : text.slice(0, most);
  return (
    <bdi className={classes(styles.evidence, mono && styles.mono)}>
      <Visible text={shown} />
      {shown.length < text.length && (
        <>
          …{' '}
          <button
            type="button"
            className={styles.more}
            onClick={() => {
              setWhole(true);
            }}
          >
            show all {text.length} characters
          </button>
        </>
      )}
    </bdi>
  );
}

/** A text whose hidden characters are named. */
export function Visible({ text, lines = false }: { text: string; lines?: boolean }) {
  return visible(text, lines).map((piece, i) =>
    piece.isHidden ? (
      <span key={i} className={styles.hidden} title="a character that cannot be seen">
        {piece.text}
      </span>
    ) : (
      piece.text
    ),
  );
}
