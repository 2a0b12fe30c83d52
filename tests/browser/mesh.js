// A mesh of real nodes, each a process with a place of its own, and the clients that make its traffic.

import { spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const START_MS = 20_000;

/** Processes that end with this one, in a directory that goes with them. */
export class Mesh {
  constructor(sinew) {
    this.sinew = sinew;
    this.directory = mkdtempSync(join(tmpdir(), 'sinew-browser-'));
    this.processes = new Set();
    this.nodes = new Map();
  }

  /** Where node `i` (1 ...) listens. */
  ip(i) {
    return `127.79.0.${i}`;
  }

  /** The server URL for clients of node `i`. */
  server(i) {
    return `quic://${this.ip(i)}:4400`;
  }

  /** The page of node `i`. */
  page(i) {
    return `http://${this.ip(i)}:4600`;
  }

  /** Starts node `i` and waits until it is ready; gives its identity. */
  async start(i, region) {
    const ip = this.ip(i);
    const bootstrap = [1, 2, 3].flatMap((seed) => ['--bootstrap', `/ip4/${this.ip(seed)}/tcp/4500`]);
    const child = this.#run(`node-${i}`, [
      'up',
      '--data-dir',
      join(this.directory, `node-${i}.data`),
      '--admin',
      `${ip}:4600`,
      '--listen',
      `quic://${ip}:4400`,
      '--mesh',
      `/ip4/${ip}/tcp/4500`,
      ...bootstrap,
      '--set',
      `mesh.region=${region}`,
    ]);
    const line = await this.#says(child, /ready: node (\S+)/);
    this.nodes.set(i, { child, id: line[1] });
    return line[1];
  }

  /** Starts a node of no mesh whose admin server wants a token from other hosts; gives its origin. */
  async startAlone(token) {
    const child = this.#run('node-alone', [
      'up',
      '--data-dir',
      join(this.directory, 'node-alone.data'),
      '--admin',
      `${this.ip(9)}:4600`,
      '--admin-token',
      token,
      '--listen',
      `quic://${this.ip(9)}:4400`,
      '--mesh',
      'off',
    ]);
    return (await this.#says(child, /admin on (http:[^\s,]+)/))[1];
  }

  /** Starts a client program at node `i`. Its output is kept only where `ready` tells what it says when it is there. */
  async client(i, name, args, ready) {
    const child = this.#run(name, [...args, '--server', this.server(i)], ready);
    if (ready) await this.#says(child, ready);
    return child;
  }

  /** Sends a signal to node `i`. */
  signal(i, signal) {
    this.nodes.get(i).child.kill(signal);
  }

  /** Ends everything and takes the directory away. */
  async end() {
    const ended = [...this.processes].map((child) => new Promise((done) => child.once('exit', done)));
    for (const child of this.processes) child.kill('SIGKILL');
    await Promise.all(ended);
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** What the processes said last, for whoever looks for the cause of a failure. */
  lastWords() {
    return [...this.nodes.keys()].map((i) => `--- node ${i}\n${this.#read(`node-${i}`).slice(-800)}`).join('\n');
  }

  #run(name, args, kept = name.startsWith('node')) {
    const out = kept ? openSync(join(this.directory, name), 'w') : 'ignore';
    const child = spawn(this.sinew, args, {
      stdio: ['ignore', out, out],
      env: { ...process.env, RUST_BACKTRACE: '0' },
    });
    child.label = name;
    this.processes.add(child);
    child.once('exit', () => this.processes.delete(child));
    return child;
  }

  #read(name) {
    return readFileSync(join(this.directory, name), 'utf8');
  }

  async #says(child, words) {
    for (const until = Date.now() + START_MS; Date.now() < until; await pause(50)) {
      const found = words.exec(this.#read(child.label));
      if (found) return found;
      if (child.exitCode !== null) break;
    }
    throw new Error(`${child.label} did not say ${words}:\n${this.#read(child.label)}`);
  }
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
