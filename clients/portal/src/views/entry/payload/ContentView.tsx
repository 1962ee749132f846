import { Evidence, Fact, Facts, Notice } from '../../../ui';
import type { Content, Gauge } from './document';
import { RecordsView, Value } from './RecordsView';
import styles from './PayloadPanel.module.css';

/** What a payload contains: facts and tables. */
export function ContentView({ content: { claims, gauges, tables, remarks } }: { content: Content }) {
  return (
    <div className={styles.content}>
      {remarks.map((remark) => (
        <Notice key={remark} tone="warn" title={<Evidence text={remark} />} />
      ))}
      {gauges.map((gauge) => (
        <GaugeView key={gauge.name} gauge={gauge} />
      ))}
      {claims.length > 0 && (
        <Facts>
          {claims.map(({ name, value, style }, i) => (
            <Fact key={i} name={<Evidence text={name} most={120} />}>
              <Value value={value} style={style} />
            </Fact>
          ))}
        </Facts>
      )}
      {tables.map((records, i) => (
        <RecordsView key={i} records={records} />
      ))}
    </div>
  );
}

function GaugeView({ gauge: { name, share, text } }: { gauge: Gauge }) {
  return (
    <div className={styles.gauge}>
      <span>{name}</span>
      <meter min={0} max={1} value={share} aria-label={name} />
      <strong>
        <Evidence text={text} />
      </strong>
    </div>
  );
}
