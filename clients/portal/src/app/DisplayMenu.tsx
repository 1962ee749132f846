import { Popover } from 'react-aria-components/Popover';
import { Dialog, DialogTrigger } from 'react-aria-components/Dialog';
import { Button } from '../ui/Button';
import { ChevronIcon } from '../ui/icons';
import styles from './Menu.module.css';
import { shortcut, theme, THEMES } from './preferences';
import { useStored } from './stored';

const names = { system: 'As the system', light: 'Light', dark: 'Dark' };

/** The choices about the display. */
export function DisplayMenu() {
  const chosen = useStored(theme);
  const keys = useStored(shortcut);
  return (
    <DialogTrigger>
      <Button kind="quiet">
        Display <ChevronIcon />
      </Button>
      <Popover className={styles.popover ?? ''} placement="bottom end">
        <Dialog className={styles.dialog ?? ''} aria-label="Display">
          <fieldset className={styles.group}>
            <legend>Theme</legend>
            {THEMES.map((value) => (
              <label key={value} className={styles.choice}>
                <input
                  type="radio"
                  name="theme"
                  checked={chosen === value}
                  onChange={() => {
                    theme.set(value);
                  }}
                />
                {names[value]}
              </label>
            ))}
          </fieldset>
          <fieldset className={styles.group}>
            <legend>Keyboard</legend>
            <label className={styles.choice}>
              <input
                type="checkbox"
                checked={keys === 'on'}
                onChange={() => {
                  shortcut.set(keys === 'on' ? 'off' : 'on');
                }}
              />
              <span>
                <kbd>/</kbd> moves to the search
              </span>
            </label>
          </fieldset>
        </Dialog>
      </Popover>
    </DialogTrigger>
  );
}
