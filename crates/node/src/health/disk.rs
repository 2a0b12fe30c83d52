use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sinew_observe::Check;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// How often the data directory is tried.
const EVERY: Duration = Duration::from_secs(10);

/// How often after a failure, so that what was mended shows soon.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a try may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Name of the file that is written.
const PROBE_NAME: &str = "probe";

/// What is written: a block of the file system, so that a full one has no room for it.
const PROBE: [u8; 4096] = [b'.'; 4096];

/// Tries again and again whether the data directory takes a file. On a thread that may block: a disk may take its time.
/// Says so when it has reported for the first time.
pub(crate) async fn watch(dir: PathBuf, check: Check, first: oneshot::Sender<()>) {
    let mut first = Some(first);
    let mut reported = move || first.take().map(|first| first.send(()));
    loop {
        let tried = dir.clone();
        let mut trying = spawn_blocking(move || write(&tried));
        let written = match timeout(PATIENCE, &mut trying).await {
            Ok(written) => written,
            Err(_) => {
                check.fail(format!("{}: no file was written within {} s", dir.display(), PATIENCE.as_secs()));
                reported();
                // Never two of them.
                trying.await
            }
        };
        let pause = match written {
            Ok(Ok(())) => {
                check.pass();
                EVERY
            }
            Ok(Err(error)) => {
                check.fail(format!("{}: {error}", dir.display()));
                AGAIN
            }
            Err(ended) => {
                check.fail(format!("{}: {ended}", dir.display()));
                AGAIN
            }
        };
        reported();
        sleep(pause).await;
    }
}

/// Writes a file to the disk and removes it again.
fn write(dir: &Path) -> io::Result<()> {
    let path = dir.join(PROBE_NAME);
    let mut file = File::create(&path)?;
    let written = file.write_all(&PROBE).and_then(|()| file.sync_all());
    drop(file);
    // Also what was written in part.
    let removed = fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_takes_a_file_is_as_it_was_afterwards() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path()).expect("it takes a file");
        assert_eq!(fs::read_dir(dir.path()).expect("is read").count(), 0);
        let gone = dir.path().join("gone");
        assert_eq!(write(&gone).map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
    }
}
