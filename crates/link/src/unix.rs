use std::fs::{self, Permissions};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tracing::debug;

use crate::identity::create_private_dir;
use crate::tcp::advance;
use crate::{Address, BindError, LinkError};

/// Slices per vectored write: what the kernel takes at most.
const SLICES: usize = 1024;

#[derive(Debug)]
pub(crate) struct UnixReader(pub(crate) OwnedReadHalf);

#[derive(Debug)]
pub(crate) struct UnixWriter(pub(crate) OwnedWriteHalf);

/// A listening socket and its file, which goes when it goes.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: UnixListener,
    path: PathBuf,
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}

/// Binds, in place of a socket file that nobody answers on. The socket is for this user only (0600), and so is a directory
/// that is made for it (0700).
pub(crate) fn bind(path: &Path) -> Result<Bound, BindError> {
    let address = Address::Unix(path.to_owned());
    let failed = |error| BindError::from_io(&address, error);
    if let Some(directory) = path.parent() {
        create_private_dir(directory).map_err(failed)?;
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path, &address)?;
            UnixListener::bind(path)
        }
        bound => bound,
    };
    let bound = Bound { listener: listener.map_err(failed)?, path: path.to_owned() };
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(bound)
}

fn remove_stale(path: &Path, address: &Address) -> Result<(), BindError> {
    let failed = |error| BindError::from_io(address, error);
    if !fs::symlink_metadata(path).map_err(failed)?.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            debug!(path = %path.display(), "removing the socket file of a process that is gone");
            fs::remove_file(path).map_err(failed)
        }
        // Somebody answers, or may not be asked.
        _ => Err(BindError::InUse(address.clone())),
    }
}

/// The process on the other end, for people.
pub(crate) fn name_of_peer(stream: &UnixStream) -> String {
    match stream.peer_cred() {
        Ok(cred) => match cred.pid() {
            Some(pid) => format!("uid {} pid {pid}", cred.uid()),
            None => format!("uid {}", cred.uid()),
        },
        Err(_) => "unknown".to_owned(),
    }
}

pub(crate) fn split(stream: UnixStream) -> (UnixReader, UnixWriter) {
    let (reader, writer) = stream.into_split();
    (UnixReader(reader), UnixWriter(writer))
}

impl UnixReader {
    /// 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        let mut room = ReadBuf::new(room);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut room))?;
        Poll::Ready(Ok(room.filled().len()))
    }
}

impl UnixWriter {
    pub(crate) async fn send(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        let mut rest = chunks;
        while !rest.is_empty() {
            let written = poll_fn(|cx| {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count =
                    slices.iter_mut().zip(rest.iter()).map(|(slice, chunk)| *slice = IoSlice::new(chunk)).count();
                Pin::new(&mut self.0).poll_write_vectored(cx, &slices[..count])
            })
            .await?;
            if written == 0 {
                return Err(LinkError::Reset);
            }
            rest = advance(rest, written);
        }
        Ok(())
    }

    /// The peer reads what was written, and then the end: the kernel keeps it.
    pub(crate) async fn finish(mut self) -> Result<(), LinkError> {
        Ok(poll_fn(|cx| Pin::new(&mut self.0).poll_shutdown(cx)).await?)
    }

    pub(crate) fn abort(&self) {
        let stream: &UnixStream = self.0.as_ref();
        let _gone_already = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Both);
    }
}
