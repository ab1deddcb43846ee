//! A proxy, apps and clients for tests.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use spaceport_core::route::{Access, People, ProxyEvent, Route, RouteTable, Standing, Target, TokenHolder};
use spaceport_core::ticket::TicketKey;
use spaceport_core::{AccountId, SpaceId, SpaceStage, Timestamp};
use spaceport_proxy::{Hub, IpNet, Proxy, ProxyConfig, ProxyError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const HOST: &str = "alice-demo.localhost";
pub type TestBody = UnsyncBoxBody<Bytes, Infallible>;

/// Nothing in these tests may take longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("within the deadline")
}

pub struct TestProxy {
    pub address: SocketAddr,
    pub soft: CancellationToken,
    pub hard: CancellationToken,
    pub ended: JoinHandle<Result<(), ProxyError>>,
    pub events: mpsc::Receiver<ProxyEvent>,
    table: watch::Sender<Arc<RouteTable>>,
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.hard.cancel();
    }
}

pub fn config() -> ProxyConfig {
    ProxyConfig { listen: "127.0.0.1:0".parse().unwrap(), threads: 2, ..ProxyConfig::default() }
}

/// A proxy whose only route is `target` at [`HOST`].
pub async fn proxy(target: Target) -> TestProxy {
    proxy_with(config(), target).await
}

pub async fn proxy_with(config: ProxyConfig, target: Target) -> TestProxy {
    let (table, routes) = watch::channel(Arc::new(RouteTable::default()));
    let (events_out, events) = mpsc::channel(64);
    let hub = Hub::new(tokio::runtime::Handle::current(), hub);
    let proxy = Proxy::bind(config, routes, hub, events_out).unwrap();
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let address = proxy.local_addr();
    #[expect(clippy::disallowed_methods, reason = "the test waits for it or ends it")]
    let ended = tokio::spawn(proxy.run(soft.clone(), hard.clone()));
    let proxy = TestProxy { address, soft, hard, ended, events, table };
    proxy.set_members([member()]);
    proxy.publish([(HOST, route(target))]);
    proxy
}

/// Answers with what it was asked, body included.
async fn hub(request: Request<Incoming>) -> Response<TestBody> {
    let (parts, mut body) = request.into_parts();
    if parts.uri.path() == "/echo" {
        // Piece by piece, as it comes.
        let (send, frames) = mpsc::channel(1);
        spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                if send.send(Ok(frame)).await.is_err() {
                    return;
                }
            }
        });
        let frames =
            futures::stream::unfold(frames, async |mut frames: mpsc::Receiver<_>| Some((frames.recv().await?, frames)));
        return Response::new(StreamBody::new(frames).boxed_unsync());
    }
    assert_ne!(parts.uri.path(), "/panic");
    let mut text = format!("hub {} {}\n{:?}\n", parts.method, parts.uri, parts.headers);
    text.push_str(&String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()));
    self::text(text)
}

pub fn route(target: Target) -> Route {
    Route {
        space: SpaceId::new(Timestamp::from_millis(0), 1),
        name: "alice/demo".parse().unwrap(),
        title: "Demo".to_owned(),
        hub_page: "http://localhost/spaces/alice/demo".to_owned(),
        access: Access::Public,
        target,
        response_headers: Vec::new(),
    }
}

pub fn owner() -> AccountId {
    AccountId::new(Timestamp::from_millis(0), 6)
}

pub fn member() -> AccountId {
    AccountId::new(Timestamp::from_millis(0), 7)
}

pub fn stranger() -> AccountId {
    AccountId::new(Timestamp::from_millis(0), 8)
}

/// What tickets are signed with.
pub const KEY: TicketKey = TicketKey::new([9; 32]);

pub fn upstream(instance: &str, address: SocketAddr) -> Target {
    Target::Upstream { instance: instance.to_owned(), address }
}

pub fn files(root: &Path) -> Target {
    let variables = BTreeMap::from([("NAME".to_owned(), "value".to_owned())]);
    Target::Files { root: root.to_owned(), index: "index.html".to_owned(), variables }
}

pub fn standing(stage: SpaceStage) -> Standing {
    Standing { stage, since: Timestamp::from_millis(0), diagnosis: None }
}

pub fn loopback() -> Vec<IpNet> {
    vec!["127.0.0.0/8".parse().unwrap()]
}

impl TestProxy {
    pub fn publish<const N: usize>(&self, routes: [(&str, Route); N]) {
        self.publish_with(routes, HashMap::new());
    }

    /// Publishes a private route at [`HOST`] for the holder of `token`.
    pub fn publish_private(&self, target: Target, token: &str) {
        self.publish_for(target, token, true);
    }

    /// Publishes a public route at [`HOST`] on a site where `token` is one of the hub's.
    pub fn publish_public(&self, target: Target, token: &str) {
        self.publish_for(target, token, false);
    }

    fn publish_for(&self, target: Target, token: &str, private: bool) {
        let hash =
            |token: &str| Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let holder = |account| TokenHolder { account, until: None, scopes: None };
        let tokens = HashMap::from([(hash(token), holder(member())), (hash("of-a-stranger"), holder(stranger()))]);
        let access = if private { Access::Private { owner: owner() } } else { Access::Public };
        self.publish_with([(HOST, Route { access, ..route(target) })], tokens);
    }

    /// Publishes who may see what is private to the owner.
    pub fn set_members<const N: usize>(&self, members: [AccountId; N]) {
        self.table.send_modify(|table| {
            let mut next = RouteTable::clone(table);
            next.version += 1;
            next.people = Arc::new(People {
                accounts: HashSet::from([owner(), member(), stranger()]),
                admins: HashSet::new(),
                members: HashMap::from([(owner(), HashSet::from(members))]),
            });
            *table = Arc::new(next);
        });
    }

    /// Publishes that what is at [`HOST`] was at `label` before.
    pub fn publish_former(&self, label: &str) {
        let now = HOST.split_once('.').unwrap().0.to_owned();
        self.table.send_modify(|table| {
            let mut next = RouteTable::clone(table);
            next.version += 1;
            next.former_labels = Arc::new(HashMap::from([(label.to_owned(), now)]));
            *table = Arc::new(next);
        });
    }

    /// Publishes routes at hosts of their own.
    pub fn publish_all(&self, routes: Vec<(String, Route)>) {
        self.publish_with(routes, HashMap::new());
    }

    fn publish_with(
        &self,
        routes: impl IntoIterator<Item = (impl Into<String>, Route)>,
        tokens: HashMap<String, TokenHolder>,
    ) {
        let hosts = routes.into_iter().map(|(host, route)| (host.into(), Arc::new(route))).collect();
        self.table.send_modify(|table| {
            let version = table.version + 1;
            let (people, key) = (table.people.clone(), Some(KEY));
            let former_labels = table.former_labels.clone();
            *table = Arc::new(RouteTable { version, hosts, former_labels, tokens: Arc::new(tokens), people, key });
        });
    }

    /// Sends bytes on a connection of their own and returns everything that comes back.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        soon(async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            // A reset after the answer is an end, too.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await
    }

    /// Sends bytes and returns the head of the answer; the connection may stay open.
    pub async fn raw_head(&self, bytes: &[u8]) -> String {
        soon(async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            read_head(&mut stream).await
        })
        .await
    }

    /// A GET of [`HOST`] with further header lines, each with its line end.
    pub async fn get(&self, path: &str, headers: &str) -> Answer {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{headers}\r\n")).await
    }

    pub async fn request(&self, text: &str) -> Answer {
        Answer::parse(&self.raw(text.as_bytes()).await)
    }

    pub async fn client(&self) -> hyper::client::conn::http1::SendRequest<TestBody> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        spawn(async move { connection.with_upgrades().await });
        send
    }

    pub async fn drained(&mut self, name: &str) {
        soon(async {
            loop {
                match self.events.recv().await {
                    Some(ProxyEvent::Drained { instance }) if instance == name => return,
                    Some(_) => {}
                    None => panic!("the proxy ended"),
                }
            }
        })
        .await;
    }
}

/// A parsed HTTP/1.1 answer whose connection has ended.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In small letters.
    pub head: String,
    raw_head: String,
    pub body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), raw_head: head.to_owned(), body: body.to_owned() }
    }

    /// A header as it came.
    pub fn raw_header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split(':').next().is_some_and(|named| named.eq_ignore_ascii_case(name));
        self.raw_head.lines().find(named)?.split_once(": ").map(|(_, value)| value)
    }

    /// A header in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(task)
}

/// An app: hyper's server with a handler.
pub async fn app<F, A>(handler: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<TestBody>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let handler = handler.clone();
            let service = hyper::service::service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            spawn(connection.with_upgrades());
        }
    });
    address
}

pub fn text(text: impl Into<Bytes>) -> Response<TestBody> {
    Response::new(Full::new(text.into()).boxed_unsync())
}

/// An app that always says `text`.
pub async fn saying(words: &'static str) -> SocketAddr {
    app(move |_| async move { text(words) }).await
}

/// An app that answers with the request it got, headers sorted, and then the body.
pub async fn mirror() -> SocketAddr {
    app(async |request| {
        let (parts, body) = request.into_parts();
        let mut lines: Vec<String> = parts
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        lines.sort();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        text(format!("{} {}\n{}\n\n{body}", parts.method, parts.uri, lines.join("\n")))
    })
    .await
}

/// An app of raw sockets: `talk` gets the number of the connection and the connection.
pub async fn raw_app<F, A>(talk: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = AtomicUsize::new(0);
    spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            spawn(talk(count.fetch_add(1, Ordering::Relaxed), stream));
        }
    });
    address
}

/// Reads up to the end of a head.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
