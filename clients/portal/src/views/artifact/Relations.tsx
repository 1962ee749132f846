import { useState } from 'react';
import type { ArtifactGraph, GraphNode } from '../../gen/muniment/v1/portal_pb';
import { ArtifactLink, count } from '../../records';
import { Button, Notice, Panel, Table, type Column } from '../../ui';
import { Graph } from './Graph';
import { columnsOf, nameOf, relationOf } from './layout';
import styles from './artifact.module.css';

/** What the artifact was made from, and what contains it. */
export function Relations({ graph }: { graph: ArtifactGraph | undefined }) {
  const [asTable, setAsTable] = useState(false);
  if (graph === undefined || graph.nodes.length <= 1) return null;
  return (
    <Panel
      title="Related artifacts"
      note={`${count(graph.nodes.length - 1, 'artifact')}: what it was made from, and what contains it`}
      actions={
        <Button
          kind="quiet"
          onPress={() => {
            setAsTable(!asTable);
          }}
        >
          {asTable ? 'Show as graph' : 'Show as table'}
        </Button>
      }
      flush
    >
      {graph.truncated && (
        <div className={styles.notice}>
          <Notice tone="info" title="There are more artifacts than shown">
            Open one of them to see what it is related to.
          </Notice>
        </div>
      )}
      {asTable ? <AsTable graph={graph} /> : <Graph graph={graph} />}
    </Panel>
  );
}

interface Row {
  node: GraphNode;
  column: number;
}

const columns: readonly Column<Row>[] = [
  {
    id: 'artifact',
    header: 'Artifact',
    cell: ({ node }) => <ArtifactLink artifact={artifactOf(node)} />,
  },
  {
    id: 'relation',
    header: 'Relation',
    cell: ({ column }) => relationOf(column),
  },
  {
    id: 'evidence',
    header: 'Entries',
    align: 'end',
    cell: ({ node }) => entriesOf(node).toLocaleString(),
  },
];

/** The number of entries about an artifact. */
export const entriesOf = ({ evidence }: GraphNode): number => Object.values(evidence).reduce((sum, n) => sum + n, 0);

/** An artifact as links take it. */
export function artifactOf(node: GraphNode): {
  name: string;
  digest: Record<string, string>;
} {
  const at = node.digest.indexOf(':');
  return {
    name: node.names[0] ?? '',
    digest: { [node.digest.slice(0, at)]: node.digest.slice(at + 1) },
  };
}

function AsTable({ graph }: { graph: ArtifactGraph }) {
  const columnOf = columnsOf(graph);
  const rows = graph.nodes
    .map((node) => ({ node, column: columnOf.get(node.digest) ?? 0 }))
    .sort((a, b) => a.column - b.column || nameOf(a.node).localeCompare(nameOf(b.node)));
  return <Table label="Artifacts by their relation" rows={rows} rowKey={({ node }) => node.digest} columns={columns} />;
}
