import { parseConfiguration } from '@muniment/verify';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import trust from 'virtual:trust';
import { App } from './App';
import './page.css';

// What is trusted comes with the page, never with the files that it verifies.
const encoder = new TextEncoder();
const files = new Map([...trust].map(([name, text]) => [name, encoder.encode(text)]));
const configuration = await parseConfiguration(trust.get('muniment.json') ?? '', files);

const root = document.getElementById('root');
if (root !== null)
  createRoot(root).render(
    <StrictMode>
      <App configuration={configuration} />
    </StrictMode>,
  );
