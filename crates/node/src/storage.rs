//! What outlives the process: the data directory and the identity in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sinew_link::{Identity, IdentityError};
use tracing::{info, warn};

use crate::{ADMIN_TOKEN_NAME, Config, Secret};

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
    /// The admin token can't be read or made.
    #[error("admin token in {}: {source}", path.display())]
    AdminToken {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The identity can't be read or made.
    #[error("identity: {0}")]
    Identity(#[from] IdentityError),
}

/// The identity of the node, and the hold on its data directory, which ends with the value.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) identity: Identity,
    /// What those from other hosts show the admin server; `None` if they can't reach it, or nobody could know it.
    pub(crate) admin_token: Option<String>,
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
        Ok(Self { identity, admin_token: admin_token(config)?, _lock: lock })
    }
}

/// The token that is configured, or else one that is made at the first start and kept, if other hosts reach the admin server.
fn admin_token(config: &Config) -> Result<Option<String>, StorageError> {
    if let Some(token) = &config.admin_token {
        return Ok(Some(token.reveal().to_owned()));
    }
    let Some(address) = config.admin.filter(|admin| !admin.ip().is_loopback()) else { return Ok(None) };
    let Some(dir) = &config.data_dir else {
        warn!(%address, "there is no admin token and no data directory to keep one: other hosts see health and metrics only");
        return Ok(None);
    };
    let path = dir.join(ADMIN_TOKEN_NAME);
    let token = load_or_create(&path).map_err(|source| StorageError::AdminToken { path: path.clone(), source })?;
    info!(%address, file = %path.display(), "other hosts need the admin token in this file");
    Ok(Some(token))
}

/// Reads the token, or makes one that only its owner can read.
fn load_or_create(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(token) => {
            let token = token.trim().to_owned();
            let config = Config { admin_token: Some(Secret::new(&*token)), ..Config::default() };
            return config
                .validate()
                .map(|()| token)
                .map_err(|invalid| io::Error::new(io::ErrorKind::InvalidData, invalid));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = rand::random::<[u8; 16]>().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(token.as_bytes())?;
    file.sync_all()?;
    Ok(token)
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
