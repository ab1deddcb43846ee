//! One exchange with a git process: a request body in, a response body out, at the same time and
//! without holding either in memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::GitError;
use crate::command::{Running, failed, stderr_end};
use crate::gzip::Decoder;
use crate::serve::Request;

/// How long neither side may say anything. While git works on a large pack it sends a sign of life
/// every five seconds.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long one exchange may take in all, for several gigabytes over a slow line.
pub(crate) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(3 * 60 * 60);
/// Chunks that wait for a slow client.
const CHUNKS: usize = 4;
const CHUNK_BYTES: usize = 64 * 1024;

/// The body of a response.
pub struct Output {
    first: Option<Result<Bytes, GitError>>,
    rest: Pin<Box<dyn Stream<Item = Result<Bytes, GitError>> + Send>>,
}

impl Output {
    pub(crate) fn new(rest: impl Stream<Item = Result<Bytes, GitError>> + Send + 'static) -> Self {
        Self { first: None, rest: Box::pin(rest) }
    }

    /// Waits for the first bytes, so that a request that fails at once gets a proper answer and not
    /// an empty body.
    ///
    /// # Errors
    /// What went wrong before git said anything.
    pub async fn started(mut self) -> Result<Self, GitError> {
        match self.next().await {
            Some(Err(error)) => Err(error),
            first => Ok(Self { first, rest: self.rest }),
        }
    }
}

impl Stream for Output {
    type Item = Result<Bytes, GitError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.rest.as_mut().poll_next(cx),
        }
    }
}

/// How much a body may hold, and what to do when git does not want the rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit {
    /// After decoding.
    pub bytes: u64,
}

/// Where git's output goes.
pub(crate) type Sender = mpsc::Sender<Result<Bytes, GitError>>;

/// A channel for output, bounded so that a slow client slows git down.
pub(crate) fn channel() -> (Sender, ReceiverStream<Result<Bytes, GitError>>) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    (sender, ReceiverStream::new(receiver))
}

/// Whether the exchange goes on when nobody reads the output any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// A fetch: nobody listens, nothing to do.
    Required,
    /// A push: once its request is complete it is carried out, whoever listens.
    Optional,
}

/// Runs the exchange to its end. A failure that the client can still be told is sent as the last item.
pub(crate) async fn exchange<S, E>(
    mut command: Command,
    operation: &'static str,
    request: Request<S>,
    limit: BodyLimit,
    listener: Listener,
    output: Sender,
) -> Result<(), GitError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
{
    command.stdin(std::process::Stdio::piped());
    let mut running = Running::start(command)?;
    let (stdin, stdout, stderr) =
        (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
    let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(GitError::Failed { operation, message: "no pipes".to_owned() });
    };
    let feed = feed(request, stdin, limit);
    let drain = drain(stdout, &output, listener, operation);
    let work = async { tokio::try_join!(feed, drain, async { Ok(stderr_end(stderr).await) }) };
    let worked = tokio::time::timeout(EXCHANGE_TIMEOUT, work).await.unwrap_or(Err(GitError::Timeout(operation)));
    let (sent, message) = match worked {
        Ok(((), sent, message)) => (sent, message),
        Err(error) => {
            running.terminate().await;
            return Err(error);
        }
    };
    let status = running.wait(IDLE_TIMEOUT, operation).await?;
    match (status.success(), sent) {
        (true, _) => Ok(()),
        // The answer itself tells the client, as `ERR` or in the status of the push.
        (false, 1..) => {
            tracing::debug!(git.command = operation, %status, message, "git ended with an error after it had answered");
            Ok(())
        }
        (false, 0) if status.code() == Some(128) && !message.is_empty() => Err(GitError::Request(message)),
        (false, 0) => Err(failed(operation, status, message)),
    }
}

/// What a command prints, as it prints it. Dropping the stream ends the command.
pub(crate) fn stream_of(
    mut command: Command,
    operation: &'static str,
) -> Result<impl Stream<Item = Result<Bytes, GitError>> + Send + 'static, GitError> {
    command.stderr(std::process::Stdio::null());
    let mut running = Running::start(command)?;
    let Some(stdout) = running.child.stdout.take() else {
        return Err(GitError::Failed { operation, message: "no pipes".to_owned() });
    };
    Ok(futures::stream::try_unfold((running, stdout), move |(mut running, mut stdout)| async move {
        let mut buffer = bytes::BytesMut::with_capacity(CHUNK_BYTES);
        let read = tokio::time::timeout(IDLE_TIMEOUT, stdout.read_buf(&mut buffer)).await;
        let count = read.map_err(|_| GitError::Timeout(operation))?.map_err(GitError::io("read from git"))?;
        if count > 0 {
            return Ok(Some((buffer.freeze(), (running, stdout))));
        }
        let status = running.wait(IDLE_TIMEOUT, operation).await?;
        if status.success() { Ok(None) } else { Err(failed(operation, status, String::new())) }
    }))
}

/// Copies the request to git, decoded. When git closes its end early, the rest is read and dropped:
/// a client that is still sending would not see the answer otherwise.
async fn feed<S, E>(request: Request<S>, stdin: ChildStdin, limit: BodyLimit) -> Result<(), GitError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
{
    let Request { mut body, encoding, .. } = request;
    let mut decoder = Decoder::new(encoding);
    let mut stdin = Some(stdin);
    let mut total: u64 = 0;
    let broken = |error: io::Error| GitError::Request(format!("the gzip-encoded body is broken: {error}"));
    loop {
        let chunk = tokio::time::timeout(IDLE_TIMEOUT, body.next()).await.map_err(|_| GitError::ClientGone)?;
        let mut chunk = match chunk {
            Some(Ok(chunk)) => chunk,
            Some(Err(_)) => return Err(GitError::ClientGone),
            None => break,
        };
        while !chunk.is_empty() {
            let piece = decoder.decode(&mut chunk).map_err(broken)?;
            write(&mut stdin, piece, &mut total, limit).await?;
        }
    }
    let rest = decoder.finish().map_err(broken)?;
    write(&mut stdin, rest, &mut total, limit).await?;
    // Closing the pipe tells git that the request is complete.
    drop(stdin);
    Ok(())
}

async fn write(
    stdin: &mut Option<ChildStdin>,
    piece: Bytes,
    total: &mut u64,
    limit: BodyLimit,
) -> Result<(), GitError> {
    *total = total.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    if *total > limit.bytes {
        return Err(GitError::Request(format!("the request has more than {} bytes", limit.bytes)));
    }
    let Some(open) = stdin else { return Ok(()) };
    match tokio::time::timeout(IDLE_TIMEOUT, open.write_all(&piece)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            *stdin = None;
            Ok(())
        }
        Ok(Err(source)) => Err(GitError::Io { operation: "write to git", source }),
        Err(_) => Err(GitError::Timeout("reading the request")),
    }
}

/// Copies git's output to the client; gives the number of bytes.
async fn drain(
    mut stdout: ChildStdout,
    output: &Sender,
    listener: Listener,
    operation: &'static str,
) -> Result<u64, GitError> {
    let mut sent: u64 = 0;
    let mut listening = true;
    loop {
        let mut buffer = bytes::BytesMut::with_capacity(CHUNK_BYTES);
        let count = stdout.read_buf(&mut buffer).await.map_err(GitError::io("read from git"))?;
        if count == 0 {
            return Ok(sent);
        }
        sent = sent.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if listening {
            let send = output.send(Ok(buffer.freeze()));
            listening = match tokio::time::timeout(IDLE_TIMEOUT, send).await {
                Ok(Ok(())) => true,
                Ok(Err(_)) => false,
                Err(_) if listener == Listener::Required => return Err(GitError::Timeout(operation)),
                Err(_) => false,
            };
        }
        if !listening && listener == Listener::Required {
            return Err(GitError::ClientGone);
        }
    }
}
