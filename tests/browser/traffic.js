// The traffic of the checks: topics that are heard, one that is not, calls that succeed and calls that fail.

const FOREVER = '100000000';

/** Starts the clients; gives the subscriber that is to be stopped. */
export async function traffic(mesh, hostile) {
  const ready = /ready|serv/i;
  await mesh.client(2, 'sub-sensors', ['sub', 'sensors.>', '--settle', '--json'], ready);
  await mesh.client(3, 'sub-orders', ['sub', 'orders.*', '--settle'], ready);
  await mesh.client(4, 'sub-all', ['sub', 'sensors.kitchen.*', 'orders.created', '--settle'], ready);
  const stalled = await mesh.client(2, 'sub-stalled', ['sub', 'load.stalled', '--buffer', '200', '--settle'], ready);
  for (const node of [2, 5]) {
    await mesh.client(node, `serve-${node}`, ['serve', 'math.square', '--exec', 'read n; echo $((n * n))'], ready);
  }
  await mesh.client(3, 'serve-hostile', ['serve', hostile.procedure, '--echo'], ready);
  const publish = (node, topic, rate, ...more) =>
    mesh.client(node, `pub-${topic.length}`, [
      'pub',
      topic,
      'x'.repeat(64),
      '--count',
      FOREVER,
      '--rate',
      String(rate),
      ...more,
    ]);
  await publish(1, 'sensors.kitchen.temp', 120);
  await publish(1, 'sensors.roof.wind', 40, '--level', 'acked');
  await publish(3, 'sensors.garden.rain', 25);
  await publish(4, 'orders.created', 60);
  // Back to where those of the orders come from, so that there is a link with traffic both ways.
  await publish(3, 'sensors.kitchen.light', 15);
  await publish(5, 'orders.paid', 20, '--level', 'acked');
  await publish(2, 'nobody.listens', 10);
  await publish(1, hostile.topic, 15);
  await mesh.client(1, 'pub-load', ['pub', 'load.stalled', 'x'.repeat(8192), '--count', FOREVER, '--rate', '400']);
  await mesh.client(4, 'call', ['call', 'math.square', '7', '--count', FOREVER, '--parallel', '2']);
  await failing(mesh);
  return { stalled };
}

/** Calls of a procedure that nobody provides; the program ends with each. */
async function failing(mesh) {
  const child = await mesh.client(3, 'call-nobody', ['call', 'nobody.provides', '--deadline', '300ms']);
  child.once('exit', () => {
    if (mesh.processes.size > 0) setTimeout(() => failing(mesh), 300).unref();
  });
}
