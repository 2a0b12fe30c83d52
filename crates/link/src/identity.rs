use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::{fmt, process};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use libp2p_identity::Keypair;
use sinew_wire::PeerId;

/// Far more than a key file has, so that a wrong path does not read a disk image into memory.
const MAX_FILE: u64 = 4096;

/// An Ed25519 key pair: who a node or a client is.
///
/// In a file it is one line: the base64 of the private key in libp2p's protobuf encoding, which is what IPFS keeps as
/// `Identity.PrivKey`. The file is readable by its owner only (0600), and so is a directory that is made for it (0700).
///
/// Cheap enough to clone. `Debug` shows the peer id, never the key.
#[derive(Clone)]
pub struct Identity {
    keys: Keypair,
    peer: PeerId,
}

/// Why there is no [`Identity`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file or its directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may read or write the key.
    #[error("{} may be used by others (mode {mode:04o}): chmod 600 it, or make a new key if somebody may have read it", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} is not a key file: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without showing it.
        problem: &'static str,
    },
}

impl IdentityError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl Identity {
    /// A new random key pair.
    pub fn generate() -> Self {
        Self::new(Keypair::generate_ed25519()).expect("the key just made is an Ed25519 key")
    }

    fn new(keys: Keypair) -> Option<Self> {
        let public = keys.public().try_into_ed25519().ok()?;
        Some(Self { keys, peer: PeerId::from_public_key(public.to_bytes()) })
    }

    /// Reads a key file. Blocks on the file system.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let mut text = String::new();
        let file = File::open(path).map_err(IdentityError::io("open", path))?;
        check_mode(&file, path)?;
        file.take(MAX_FILE).read_to_string(&mut text).map_err(IdentityError::io("read", path))?;
        let invalid = |problem| IdentityError::Invalid { path: path.to_owned(), problem };
        let bytes = BASE64.decode(text.trim()).map_err(|_| invalid("not one line of base64"))?;
        let keys = Keypair::from_protobuf_encoding(&bytes).map_err(|_| invalid("not a libp2p private key"))?;
        Self::new(keys).ok_or_else(|| invalid("not an Ed25519 key"))
    }

    /// Reads a key file, or makes one with a new key where there is none. Blocks on the file system.
    ///
    /// Two processes that do this at once end up with the same key.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        match Self::load(path) {
            Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::generate().create(path)
            }
            result => result,
        }
    }

    /// Writes the whole file under another name first, and then gives it its own, unless somebody else was faster.
    fn create(self, path: &Path) -> Result<Self, IdentityError> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(directory) = directory {
            create_private_dir(directory).map_err(IdentityError::io("create", directory))?;
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.new", process::id()));
        let temporary = PathBuf::from(temporary);
        let created = self.write(&temporary).and_then(|()| fs::hard_link(&temporary, path));
        let _gone_already = fs::remove_file(&temporary);
        match created {
            Ok(()) => Ok(self),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(error) => Err(IdentityError::io("create", path)(error)),
        }
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let bytes = self.keys.to_protobuf_encoding().expect("an Ed25519 key has an encoding");
        // What a crash left behind under this name was never a key of anybody.
        let _none_there = fs::remove_file(path);
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        writeln!(file, "{}", BASE64.encode(bytes))?;
        file.sync_all()
    }

    /// The public half, which names the peer.
    pub const fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// The key pair itself, for the overlay, which proves the same identity.
    pub const fn keypair(&self) -> &Keypair {
        &self.keys
    }

    /// Signs a message (Ed25519). Callers put a domain in front of it, so that no signature can stand for another.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.keys.sign(message).expect("an Ed25519 key signs anything");
        signature.try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// Whether `signature` is the peer's over `message`.
#[cfg(unix)]
pub(crate) fn verify(peer: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
    libp2p_identity::ed25519::PublicKey::try_from_bytes(peer.public_key())
        .is_ok_and(|key| key.verify(message, signature))
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.peer).finish()
    }
}

#[cfg(unix)]
fn check_mode(file: &File, path: &Path) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().map_err(IdentityError::io("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(IdentityError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_mode(_: &File, _: &Path) -> Result<(), IdentityError> {
    Ok(())
}

/// Makes a directory and what is missing above it, for the owner only. One that exists stays as it is.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/identity.key");
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(Identity::load_or_create(&path).unwrap().peer_id(), made.peer_id());
        assert_eq!(Identity::load(&path).unwrap().peer_id(), made.peer_id());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().count(), text.len()), (1, 93), "one line of base64 of 68 bytes");
    }

    #[test]
    fn of_many_makers_all_get_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.key");
        let existing = Identity::generate();
        let peer = existing.peer_id();
        existing.create(&path).unwrap();
        assert_eq!(Identity::generate().create(&path).unwrap().peer_id(), peer);
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let identity = Identity::generate();
        assert_eq!(format!("{identity:?}"), format!("Identity(PeerId({}))", identity.peer_id()));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/identity.key");
        Identity::load_or_create(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load_or_create(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Exposed { mode: 0o640, .. }), "{error}");
    }

    #[test]
    fn other_files_are_no_keys_and_stay_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.key");
        for text in ["", "not base64!", "AAAA", "CAESQA=="] {
            let _none_yet = fs::remove_file(&path);
            let mut options = File::options();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(&path).unwrap().write_all(text.as_bytes()).unwrap();
            let error = Identity::load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Invalid { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn signs_what_it_says() {
        let identity = Identity::generate();
        let signature = identity.sign(b"message");
        assert!(verify(&identity.peer_id(), b"message", &signature));
        assert!(!verify(&identity.peer_id(), b"another", &signature));
        assert!(!verify(&Identity::generate().peer_id(), b"message", &signature));
    }
}
