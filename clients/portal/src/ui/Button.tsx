import { Button as AriaButton, type ButtonProps } from 'react-aria-components/Button';
import { classes } from './classes';
import styles from './Button.module.css';

export type ButtonKind = 'primary' | 'secondary' | 'quiet' | 'danger';

/** A button. At most one on a view is primary. */
export function Button({
  kind = 'secondary',
  className,
  ...props
}: ButtonProps & { kind?: ButtonKind; className?: string }) {
  return <AriaButton {...props} className={classes(styles.button, styles[kind], className)} />;
}

/** The classes of a link that looks like a button. */
export const buttonClass = (kind: ButtonKind = 'secondary'): string => classes(styles.button, styles[kind]);
