import { Button, Fact, Facts, Panel, Status } from '../../ui';
import type { Outcome } from './protocol';
import styles from './verify.module.css';

const verdicts = {
  verified: { tone: 'good', text: 'Verified' },
  'not-verified': { tone: 'bad', text: 'Refused' },
  error: { tone: 'warn', text: 'Not checked' },
} as const;

const kinds: Record<string, string> = {
  receipt: 'receipt',
  'sigstore-bundle': 'Sigstore bundle',
  export: 'export',
  stream: 'evidence bundle, as a stream',
  'evidence-bundle': 'evidence bundle',
};

/** The report on one file: the verdict first, and what it rests on. */
export function OutcomeView({ outcome }: { outcome: Outcome }) {
  const { tone, text } = verdicts[outcome.verdict];
  return (
    <Panel
      title={outcome.file}
      note={kinds[outcome.kind] ?? 'kind not recognized'}
      actions={
        outcome.html !== '' && (
          <Button
            onPress={() => {
              save(outcome.html);
            }}
          >
            Save the report
          </Button>
        )
      }
    >
      <div role="status">
        <Status tone={tone}>{text}</Status>
      </div>
      {outcome.verdict === 'verified' ? (
        outcome.sections.map(({ title, items }) => (
          <section key={title} className={styles.section} aria-label={title}>
            <h3>{title}</h3>
            <Facts>
              {items.map(({ label, value }, i) => (
                <Fact key={i} name={label}>
                  {value}
                </Fact>
              ))}
            </Facts>
          </section>
        ))
      ) : (
        <section className={styles.section} aria-label="First failing check">
          <h3>{outcome.verdict === 'error' ? 'Why it was not checked' : 'First failing check'}</h3>
          <Facts>
            <Fact name="Code">
              <code>{outcome.code}</code>
            </Fact>
            <Fact name="Step">{outcome.step === 0 ? 'before the verification' : outcome.step}</Fact>
            <Fact name="Reason">{outcome.message}</Fact>
          </Facts>
        </section>
      )}
    </Panel>
  );
}

/** Saves the report as a page that needs no other file. */
function save(html: string): void {
  const url = URL.createObjectURL(new Blob([html], { type: 'text/html' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = 'report.html';
  link.click();
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 60_000);
}
