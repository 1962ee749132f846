import { useEffect, useRef } from 'react';
import UPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useIsDark } from '../app/preferences';
import type { ChartData } from './Chart';
import { formatCompact } from './format';

const height = 220;
const paths = UPlot.paths.bars?.({ size: [0.6, 40] });
const barsPath = paths === undefined ? {} : { paths };

/** Draws the chart. It is loaded when the first chart is shown. */
export default function Plot({ data }: { data: ChartData }) {
  const place = useRef<HTMLDivElement>(null);
  const dark = useIsDark();
  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    const plot = new UPlot(optionsOf(data, element), alignedOf(data), element);
    const resized = new ResizeObserver(() => {
      plot.setSize({ width: Math.max(element.clientWidth, 100), height });
    });
    resized.observe(element);
    return () => {
      resized.disconnect();
      plot.destroy();
    };
  }, [data, dark]); // the colours of the theme are drawn into the picture
  return <div ref={place} />;
}

function alignedOf({ times, series, limit }: ChartData): UPlot.AlignedData {
  const lines = series.map(({ values }) => [...values]);
  if (limit) lines.push(times.map(() => limit.value));
  return [[...times], ...lines];
}

function optionsOf({ series, limit, format = formatCompact }: ChartData, element: HTMLElement): UPlot.Options {
  // Canvas does not resolve light-dark(): a probe does.
  const probe = document.createElement('i');
  element.append(probe);
  const color = (name: string) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const [text, grid] = [color('text-muted'), color('border')];
  const lines: UPlot.Series[] = series.map(({ label, bars }, i) => {
    const stroke = color(`series-${(i % 4) + 1}`);
    const dash = i > 0 && bars !== true ? { dash: [[], [6, 3], [2, 3], [8, 3, 2, 3]][i % 4] ?? [] } : {};
    return {
      label,
      stroke,
      width: 2,
      points: { show: false },
      ...dash,
      ...(bars === true && { fill: stroke, ...barsPath }),
    };
  });
  if (limit)
    lines.push({ label: limit.label, stroke: color('text-muted'), width: 1, dash: [4, 4], points: { show: false } });
  const font = `12px ${getComputedStyle(element).fontFamily}`;
  probe.remove();
  const axis = { stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
  return {
    width: Math.max(element.clientWidth, 100),
    height,
    legend: { show: false },
    cursor: { show: false },
    series: [{}, ...lines],
    scales: { y: { range: (_, min, max) => [Math.min(0, min), max <= 0 ? 1 : max * 1.05] } },
    axes: [axis, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => format(tick)) }],
  };
}
