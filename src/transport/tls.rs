//! TLS for both sides: rustls, with `ring` as its only provider.
//!
//! A client trusts the system's roots, or one CA file in their place, or, where the user insists,
//! anybody. A server reads its chain and key from PEM files, or makes a certificate for this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls;

use crate::disk::{create_private, create_private_dir};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

/// Why TLS cannot be set up; nothing has been sent by then.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: expected {expected} in PEM, found {found}")]
    NotPem { path: PathBuf, expected: &'static str, found: String },
    #[error("{path}: the certificate cannot be used")]
    Unusable {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("cannot write {path}")]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make a self-signed certificate")]
    SelfSigned(#[from] rcgen::Error),
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Whom a client believes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The roots that this system trusts.
    #[default]
    System,
    /// Only what this CA file (PEM) has signed.
    Authority(PathBuf),
    /// Anybody: the connection is private, but with whom is unknown.
    Anybody,
}

/// A client's side of TLS.
pub fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let config = match trust {
        Trust::System => builder.with_root_certificates(system_roots()).with_no_client_auth(),
        Trust::Authority(path) => builder.with_root_certificates(roots_of(path)?).with_no_client_auth(),
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
            .with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// A server's side of TLS from its certificate chain and key.
pub fn server_config(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(cert)?;
    let key_pem = read(key)?;
    let secret = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|e| TlsError::NotPem {
        path: key.to_owned(),
        expected: "a private key",
        found: e.to_string(),
    })?;
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map(Arc::new)
        .map_err(|source| TlsError::Unusable { path: cert.to_owned(), source })
}

/// A self-signed certificate and where it lies, for clients to trust.
#[derive(Debug)]
pub struct SelfSigned {
    pub config: Arc<ServerConfig>,
    pub cert: PathBuf,
}

/// Makes a certificate for this machine (`localhost`, both loopback addresses and `hosts`) in `dir`,
/// or takes the one that an earlier run left there, so that clients need to trust it only once.
pub fn self_signed(dir: &Path, hosts: &[String]) -> Result<SelfSigned, TlsError> {
    let cert = dir.join("self-signed-cert.pem");
    let key = dir.join("self-signed-key.pem");
    if cert.exists() && key.exists() {
        return Ok(SelfSigned { config: server_config(&cert, &key)?, cert });
    }
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.extend(hosts.iter().filter(|h| !names.contains(h)).cloned().collect::<Vec<_>>());
    let made = rcgen::generate_simple_self_signed(names)?;
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Unwritable { path, source }
    };
    create_private_dir(dir).map_err(unwritable(dir))?;
    write_private(&key, made.signing_key.serialize_pem().as_bytes()).map_err(unwritable(&key))?;
    write_private(&cert, made.cert.pem().as_bytes()).map_err(unwritable(&cert))?;
    Ok(SelfSigned { config: server_config(&cert, &key)?, cert })
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    create_private(path)?.write_all(content)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |found: String| TlsError::NotPem { path: path.to_owned(), expected: "certificates", found };
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| wrong(e.to_string()))?;
    if chain.is_empty() { Err(wrong("none".to_owned())) } else { Ok(chain) }
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Unusable { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("some of the system's certificates cannot be read: {error}");
    }
    // A few broken ones are usual in a system's store, and no reason to trust none.
    let (usable, _broken) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        tracing::warn!(
            "this system has no trusted certificates (package ca-certificates?): no TLS server will be \
             believed unless its source sets tls_ca"
        );
    }
    roots
}

/// Believes any certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::{ClientConnection, Stream};

    use super::*;

    /// As `[limits] memory` is split.
    const TLS_PLACE_BYTES: i64 = 48 << 10;

    /// A connection over which all but the end of the longest record has come.
    fn most_of_a_record(at: std::net::SocketAddr, config: Arc<ClientConfig>) -> std::net::TcpStream {
        let mut tcp = std::net::TcpStream::connect(at).unwrap();
        let mut tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        Stream::new(&mut tls, &mut tcp).flush().unwrap();
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut tcp).unwrap();
        }
        tls.writer().write_all(&[b'x'; 16 << 10]).unwrap();
        let mut record = Vec::new();
        tls.write_tls(&mut record).unwrap();
        tcp.write_all(&record[..record.len() - 1]).unwrap();
        tcp
    }

    #[test]
    fn an_encrypted_connection_takes_no_more_than_its_place_has() {
        const NUMBER: usize = 20;
        let dir = tempfile::tempdir().unwrap();
        let server = self_signed(dir.path(), &["localhost".to_owned()]).unwrap();
        let config = client_config(&Trust::Anybody).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        let clients = std::thread::spawn(move || {
            (0..NUMBER).map(|_| most_of_a_record(at, Arc::clone(&config))).collect::<Vec<_>>()
        });
        let mut held = Vec::with_capacity(NUMBER);
        let acceptor = TlsAcceptor::from(server.config);
        let counted = allocation_counter::measure(|| {
            runtime.block_on(async {
                for _ in 0..NUMBER {
                    let (tcp, _) = listener.accept().await.unwrap();
                    let mut stream = acceptor.accept(tcp).await.unwrap();
                    // Until all that was sent has been read, and no byte of it can be given out.
                    let mut byte = [0];
                    let read =
                        tokio::time::timeout(std::time::Duration::from_millis(50), stream.read(&mut byte));
                    assert!(read.await.is_err());
                    held.push(stream);
                }
            });
        });
        let each = counted.bytes_current / NUMBER as i64;
        eprintln!("{each} bytes each, at most {} at a time", counted.bytes_max);
        assert!(each <= TLS_PLACE_BYTES, "{each}");
        drop((held, clients.join().unwrap()));
    }
}
