/** The page's side of the worker. */

import { startWorker } from '../../app/trustedTypes';
import type { Answer, Job, Outcome } from './protocol';
import workerUrl from './verify.worker?worker&url';

interface Waiting {
  resolve: (outcome: Outcome) => void;
  onProgress: (share: number) => void;
}

/** Verifies files in a worker, one after another. */
export class Verifier {
  #worker = this.#start();
  #waiting = new Map<number, Waiting>();
  #last = 0;

  /** Verifies one file. */
  verify(job: Omit<Job, 'id'>, onProgress: (share: number) => void): Promise<Outcome> {
    const id = ++this.#last;
    return new Promise((resolve) => {
      this.#waiting.set(id, { resolve, onProgress });
      this.#worker.postMessage({ ...job, id } satisfies Job);
    });
  }

  /** Interrupts everything, and forgets it. */
  interrupt(): void {
    this.#worker.terminate();
    this.#waiting.clear();
    this.#worker = this.#start();
  }

  close(): void {
    this.#worker.terminate();
  }

  #start(): Worker {
    const worker = startWorker(workerUrl);
    worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const waiting = this.#waiting.get(data.id);
      if ('outcome' in data) {
        this.#waiting.delete(data.id);
        waiting?.resolve(data.outcome);
      } else waiting?.onProgress(data.total === 0 ? 0 : data.done / data.total);
    };
    worker.onerror = (event) => {
      const message = event.message || 'the worker could not be started';
      for (const { resolve } of this.#waiting.values())
        resolve({ file: '', kind: '', html: '', verdict: 'error', code: 'failed', step: 0, message });
      this.#waiting.clear();
    };
    return worker;
  }
}
