/// Many small buffers come and go on several threads: that is what it is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Memory comes from the kernel in small pages. The allocator asks for huge ones (2 MiB) where it may, and the first touch of each
/// clears all of it: milliseconds in which a link stands still, ten and more of them in the first second of a node
/// (the receive buffers of its sockets). Messages need latency more than the few percent that huge pages give.
pub(crate) fn use_small_pages() {
    // A kernel without huge pages, or one that forbids to refuse them, costs latency and nothing else.
    #[cfg(target_os = "linux")]
    let _unsupported = rustix::thread::disable_transparent_huge_pages(true);
}
