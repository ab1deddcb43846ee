//! Secrets for BuildKit.
//!
//! BuildKit asks its client for a secret when a step mounts it: the client opens a *session*, an
//! HTTP/2 connection in which the engine is the one that calls. `bollard` opens one per build but
//! offers no secrets in it, so a build that has some gets this session first, under the same id;
//! the engine then refuses the library's own, which the library ignores.
//! Protocol: <https://github.com/moby/buildkit/blob/v0.8.3/session/http.go>

use std::collections::BTreeMap;

use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use futures::StreamExt;
use spaceport_runtime::RuntimeError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use crate::client::{Endpoint, PING_TIMEOUT, engine_error};

const OPERATION: &str = "hand a build its secrets";
/// An answer's head longer than this is none of the engine's.
const HEAD_BYTES: usize = 8 << 10;

/// Opens a session; the future serves it and never ends by itself.
pub(crate) async fn open(
    endpoint: &Endpoint,
    id: &str,
    secrets: BTreeMap<String, Vec<u8>>,
) -> Result<impl Future<Output = ()> + Send + use<>, RuntimeError> {
    let broken = |error| RuntimeError::Unreachable(Box::new(error));
    let connect = async {
        Ok(match endpoint {
            Endpoint::Unix(path) => {
                let mut stream = UnixStream::connect(path).await.map_err(broken)?;
                upgrade(&mut stream, id).await?;
                futures::future::Either::Left(serve(stream, secrets))
            }
            Endpoint::Tcp(address) => {
                let mut stream = TcpStream::connect(address).await.map_err(broken)?;
                upgrade(&mut stream, id).await?;
                futures::future::Either::Right(serve(stream, secrets))
            }
        })
    };
    tokio::time::timeout(PING_TIMEOUT, connect)
        .await
        .unwrap_or_else(|_| Err(RuntimeError::Unreachable("the engine opens no session".into())))
}

async fn upgrade(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), id: &str) -> Result<(), RuntimeError> {
    let broken = |error| RuntimeError::Unreachable(Box::new(error));
    let request = format!(
        "POST /session HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\
         X-Docker-Expose-Session-Uuid: {id}\r\n\
         X-Docker-Expose-Session-Grpc-Method: /moby.buildkit.secrets.v1.Secrets/GetSecret\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    // Byte by byte: what follows the head is HTTP/2 and not ours to read.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.map_err(broken)?);
        if head.len() > HEAD_BYTES {
            return Err(engine_error(OPERATION, "the engine's answer has no end"));
        }
    }
    let status = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    if status.split(' ').nth(1) == Some("101") {
        Ok(())
    } else {
        Err(engine_error(OPERATION, format!("the engine opens no session: {status}")))
    }
}

async fn serve<S>(stream: S, secrets: BTreeMap<String, Vec<u8>>)
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let incoming = futures::stream::iter([Ok::<_, std::io::Error>(stream)]).chain(futures::stream::pending());
    let served = Server::builder()
        .add_service(HealthServer::new(Alive))
        .add_service(SecretsServer::new(Held(secrets)))
        .serve_with_incoming(incoming)
        .await;
    if let Err(error) = served {
        tracing::warn!(error = %error, "the session of a build ended");
    }
    std::future::pending().await
}

struct Held(BTreeMap<String, Vec<u8>>);

#[tonic::async_trait]
impl Secrets for Held {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        match self.0.get(&request.get_ref().id) {
            Some(value) => Ok(Response::new(GetSecretResponse { data: value.clone() })),
            None => Err(Status::not_found("the Space has no secret of this name")),
        }
    }
}

/// The engine drops a session that does not answer its health checks.
struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = futures::stream::BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let now = HealthCheckResponse { status: ServingStatus::Serving.into() };
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(now)]).chain(futures::stream::pending()))))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Ok(Response::new(HealthListResponse::default()))
    }
}
