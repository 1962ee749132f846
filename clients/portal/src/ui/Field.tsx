/** Fields of forms: a label, the control, a hint, and the error beside it. */

import { Button } from 'react-aria-components/Button';
import { FieldError } from 'react-aria-components/FieldError';
import { Input } from 'react-aria-components/Input';
import { Label } from 'react-aria-components/Label';
import { ListBox, ListBoxItem } from 'react-aria-components/ListBox';
import { Popover } from 'react-aria-components/Popover';
import { Select, SelectValue } from 'react-aria-components/Select';
import { Text } from 'react-aria-components/Text';
import { TextArea } from 'react-aria-components/TextArea';
import { TextField, type TextFieldProps } from 'react-aria-components/TextField';
import { ChevronIcon } from './icons';
import styles from './Field.module.css';

interface TextProps extends TextFieldProps {
  label: string;
  hint?: string;
  /** The error of the server about this field. */
  error?: string | undefined;
  /** More than one line. */
  lines?: number;
  /** Text of machines: digests, tokens. */
  mono?: boolean;
}

/** A field for text. */
export function TextInput({ label, hint, error, lines, mono = false, ...props }: TextProps) {
  const input = mono ? `${styles.input} ${styles.mono}` : (styles.input ?? '');
  return (
    <TextField {...props} className={styles.field ?? ''} {...(error !== undefined && { isInvalid: true })}>
      <Label className={styles.label ?? ''}>
        {label}
        {props.isRequired === true && <span className={styles.required}> (required)</span>}
      </Label>
      {lines === undefined ? <Input className={input} /> : <TextArea className={input} rows={lines} />}
      {hint !== undefined && (
        <Text slot="description" className={styles.hint ?? ''}>
          {hint}
        </Text>
      )}
      <FieldError className={styles.error ?? ''}>{error}</FieldError>
    </TextField>
  );
}

interface ChoiceProps<Value extends string> {
  label: string;
  hint?: string;
  options: readonly { value: Value; label: string }[];
  value: Value | undefined;
  onChange: (value: Value) => void;
}

/** A choice of one of several values. */
export function Choice<Value extends string>({ label, hint, options, value, onChange }: ChoiceProps<Value>) {
  return (
    <Select
      className={styles.field ?? ''}
      value={value ?? null}
      onChange={(key) => {
        const found = options.find((option) => option.value === key);
        if (found !== undefined) onChange(found.value);
      }}
    >
      <Label className={styles.label ?? ''}>{label}</Label>
      <Button className={styles.select ?? ''}>
        <SelectValue />
        <ChevronIcon />
      </Button>
      {hint !== undefined && (
        <Text slot="description" className={styles.hint ?? ''}>
          {hint}
        </Text>
      )}
      <Popover className={styles.popover ?? ''}>
        <ListBox className={styles.list ?? ''} items={options}>
          {(option) => (
            <ListBoxItem id={option.value} textValue={option.label} className={styles.option ?? ''}>
              {option.label}
            </ListBoxItem>
          )}
        </ListBox>
      </Popover>
    </Select>
  );
}
