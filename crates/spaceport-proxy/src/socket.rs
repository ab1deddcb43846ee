//! The socket of a client: it notes when a head begins to come in, whether bytes wait to go out,
//! and what hyper keeps to itself about the framing of requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connection::Activity;
use crate::framing::Framing;

pub(crate) struct ClientSocket {
    stream: TcpStream,
    activity: Arc<Activity>,
    framing: Option<Framing>,
}

impl ClientSocket {
    /// `max_head` is given for HTTP/1.1.
    pub(crate) fn new(stream: TcpStream, activity: Arc<Activity>, max_head: Option<usize>) -> Self {
        Self { stream, activity, framing: max_head.map(Framing::new) }
    }

    fn arrived(&mut self, bytes: &[u8]) {
        let Activity { ticks, busy, reading_since, two_framings, upgraded, .. } = &*self.activity;
        if busy.load(Relaxed) == 0 && reading_since.load(Relaxed) == 0 {
            reading_since.store(ticks.now(), Relaxed);
        }
        let Some(framing) = &mut self.framing else { return };
        if upgraded.load(Relaxed) {
            self.framing = None;
        } else if let Some(number) = framing.pass(bytes) {
            two_framings.store(number, Relaxed);
        }
    }

    fn sent<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Activity { ticks, idle_since, unsent, .. } = &*self.activity;
        if result.is_pending() {
            unsent.store(true, Relaxed);
        } else if unsent.load(Relaxed) {
            unsent.store(false, Relaxed);
            idle_since.store(ticks.now(), Relaxed);
        }
        result
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            self.arrived(read);
        }
        result
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
