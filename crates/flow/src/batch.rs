/// Something queued as a unit that holds one or more messages.
///
/// Every message charges at least one byte, and what the parts of a split charge adds up to what the whole did.
/// A queue relies on both for its counts.
pub trait Batch: Sized {
    /// How many messages it holds, at least 1.
    fn messages(&self) -> usize;

    /// What a queue charges for it, in bytes.
    fn bytes(&self) -> usize;

    /// Takes the first `n` messages off and returns them. Called with `0 < n < messages()`.
    fn split_front(&mut self, n: usize) -> Self;

    /// How many leading messages fit into `bytes`: 0 when not even the first does, at most [`Batch::messages`].
    fn messages_within(&self, bytes: usize) -> usize;
}

/// The first `n` messages of a batch, and the rest if there is one. `n` is at least 1.
pub(crate) fn split<B: Batch>(mut batch: B, n: usize) -> (B, Option<B>) {
    if n >= batch.messages() {
        return (batch, None);
    }
    let front = batch.split_front(n);
    (front, Some(batch))
}

/// The fewest leading messages worth at least `bytes`; all when the batch is worth less.
pub(crate) fn messages_covering<B: Batch>(batch: &B, bytes: usize) -> usize {
    match bytes.checked_sub(1) {
        None => 0,
        Some(_) if bytes >= batch.bytes() => batch.messages(),
        Some(less) => batch.messages_within(less).saturating_add(1),
    }
}
