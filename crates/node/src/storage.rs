//! What outlives the process: the data directory and the identity in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use sinew_link::{Identity, IdentityError};

use crate::Config;

/// Name of the file whose lock says that a node uses the data directory.
const LOCK_NAME: &str = "lock";

/// Why the node can't keep what it has to keep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The data directory can't be made or used.
    #[error("data directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another node uses the data directory.
    #[error("data directory {}: another node is using it; give this one its own with --data-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The identity can't be read or made.
    #[error("identity: {0}")]
    Identity(#[from] IdentityError),
}

/// The identity of the node, and the hold on its data directory, which ends with the value.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) identity: Identity,
    _lock: Option<File>,
}

impl Storage {
    /// Makes and locks the data directory, and reads or makes the identity. Blocks on the disk.
    pub(crate) fn open(config: &Config) -> Result<Self, StorageError> {
        let lock = config.data_dir.as_deref().map(claim).transpose()?;
        let identity = match config.identity_file() {
            Some(path) => Identity::load_or_create(&path)?,
            None => Identity::generate(),
        };
        Ok(Self { identity, _lock: lock })
    }
}

fn claim(dir: &Path) -> Result<File, StorageError> {
    let failed = |source| StorageError::Directory { path: dir.to_owned(), source };
    make_private(dir).map_err(failed)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK_NAME)).map_err(failed)?;
    match lock(&file) {
        Ok(true) => Ok(file),
        Ok(false) => Err(StorageError::InUse { path: dir.to_owned() }),
        Err(source) => Err(failed(source)),
    }
}

/// Makes the directory for its owner only. One that exists keeps its mode: whoever made it had reasons.
fn make_private(dir: &Path) -> io::Result<()> {
    if fs::metadata(dir).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Takes the lock of a file, or says that somebody else has it. The system frees it when the process ends, however.
#[cfg(unix)]
fn lock(file: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn lock(_: &File) -> io::Result<bool> {
    Ok(true)
}
