//! A connection to one server.
//!
//! It never reconnects by itself: it is a connection to one life of one server process. So what a handshake learnt of
//! the server holds for every later command on it.

use std::fmt;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, TlsCertificates,
};
use tokio::time::Instant;

use super::config::{Config, Server};
use super::failure::Failure;
use super::tls;
use crate::secret::Secret;

/// Commands that wait for the writer of a connection.
const QUEUE: usize = 1024;
/// When silent peers are probed, and again, and given up after three probes.
const KEEPALIVE: Duration = Duration::from_secs(15);
const PROBE: Duration = Duration::from_secs(5);

/// How servers are connected to.
pub(super) struct Connector {
    certificates: Option<TlsCertificates>,
    timeout: Duration,
}

/// Who connects.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Login<'a> {
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a Secret>,
    pub(super) database: i64,
}

impl Connector {
    /// Fails if the authorities of the configuration are none.
    pub(super) fn new(config: &Config) -> Result<Self, RedisError> {
        let connector = Self {
            certificates: config.tls.then(|| tls::certificates(config.ca.as_deref())),
            timeout: config.timeout,
        };
        for server in &config.servers {
            connector.client(server, Login::default())?;
        }
        Ok(connector)
    }

    fn client(&self, server: &Server, login: Login<'_>) -> Result<Client, RedisError> {
        let (host, port) = (server.host.clone(), server.port);
        let mut redis = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP2)
            .set_skip_set_lib_name()
            .set_db(login.database);
        if let Some(username) = login.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = login.password {
            redis = redis.set_password(password.expose());
        }
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(
                TcpKeepalive::new()
                    .with_time(KEEPALIVE)
                    .with_interval(PROBE)
                    .with_retries(3),
            )
            .set_user_timeout(PROBE);
        let addr = if self.certificates.is_some() {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = addr
            .into_connection_info()?
            .set_tcp_settings(tcp)
            .set_redis_settings(redis);
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    /// A new connection, logged in.
    pub(super) async fn connect(
        &self,
        server: &Server,
        login: Login<'_>,
    ) -> Result<Connection, Failure> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(QUEUE);
        let failed = |source| Failure::Connect {
            server: server.clone(),
            source,
        };
        let client = self.client(server, login).map_err(failed)?;
        let connecting = Box::pin(client.get_multiplexed_async_connection_with_config(&config));
        // Resolving the name has no limit of its own.
        let connection = tokio::time::timeout(self.timeout * 2, connecting)
            .await
            .map_err(Failure::from)?
            .map_err(failed)?;
        Ok(Connection(connection))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Connection(MultiplexedConnection);

impl Connection {
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        command.query_async(&mut self.0.clone()).await
    }

    pub(super) async fn pipeline<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
    ) -> Result<T, RedisError> {
        commands.query_async(&mut self.0.clone()).await
    }

    /// What the server says of itself now.
    pub(super) async fn facts(&self) -> Result<Facts, Failure> {
        let asked = redis::pipe().cmd("INFO").cmd("TIME").to_owned();
        let (info, (seconds, micros)): (String, (u64, u64)) = self.pipeline(&asked).await?;
        let clock = ServerClock {
            micros: seconds.saturating_mul(1_000_000).saturating_add(micros),
            at: Instant::now(),
        };
        Facts::parse(&info, clock)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// What a server's clock showed, not after `at`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerClock {
    pub(super) micros: u64,
    at: Instant,
}

impl ServerClock {
    /// What the server's clock shows at `instant` at the least: whoever is to be finished by then is told this.
    pub(super) fn at(self, instant: Instant) -> u64 {
        let later = instant.saturating_duration_since(self.at);
        let later = u64::try_from(later.as_micros()).unwrap_or(u64::MAX);
        self.micros.saturating_add(later)
    }
}

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Changes with all that may have lost rows: a restart, another server, another master's rows, eviction.
    pub(super) identity: String,
    /// Whether it may remove our keys when its memory is full.
    pub(super) evicts: bool,
    /// The first number of its version, as far as it means what Redis means by it.
    pub(super) version: u64,
    pub(super) clock: ServerClock,
}

impl Facts {
    fn parse(info: &str, clock: ServerClock) -> Result<Self, Failure> {
        let field = |name: &'static str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let needed = |name| field(name).ok_or(Failure::Unreadable { what: name });
        let role = needed("role")?;
        if role != "master" {
            return Err(Failure::NotMaster {
                role: role.to_owned(),
            });
        }
        if field("loading").is_some_and(|loading| loading != "0") {
            return Err(Failure::Loading);
        }
        let policy = needed("maxmemory_policy")?;
        let evicts = policy.starts_with("allkeys");
        // Keys with a time to live, which ours never have, may be evicted without harm.
        let evicted = match policy {
            "noeviction" => needed("evicted_keys")?,
            _ if evicts => "evicts",
            _ => "-",
        };
        let version = field("redis_version")
            .and_then(|version| version.split('.').next()?.parse().ok())
            .unwrap_or(0);
        let (process, rows) = (needed("run_id")?, needed("master_replid")?);
        Ok(Self {
            identity: format!("{process}/{rows}/{evicted}"),
            evicts,
            version,
            clock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(policy: &str, evicted: u64) -> Facts {
        let info = format!(
            "# Server\r\nrun_id:aa\r\nmaxmemory_policy:{policy}\r\nloading:0\r\nevicted_keys:{evicted}\r\n\
             role:master\r\nmaster_replid:bb\r\nmaster_replid2:cc\r\n"
        );
        let clock = ServerClock {
            micros: 5,
            at: Instant::now(),
        };
        Facts::parse(&info, clock).unwrap()
    }

    #[test]
    fn evictions_that_may_have_met_our_keys_are_another_identity() {
        let usual = facts("noeviction", 0);
        assert_eq!(usual.identity, "aa/bb/0");
        assert_ne!(facts("noeviction", 1).identity, usual.identity);
        assert_ne!(facts("allkeys-lru", 0).identity, usual.identity);
        assert!(facts("allkeys-lru", 0).evicts);
        let volatile = facts("volatile-lru", 1);
        assert_eq!(facts("volatile-lru", 2).identity, volatile.identity);
        assert!(!volatile.evicts);
    }

    #[test]
    fn a_deadline_is_never_later_on_the_server() {
        let at = Instant::now();
        let clock = ServerClock { micros: 1_000, at };
        assert_eq!(clock.at(at + Duration::from_millis(2)), 3_000);
        assert_eq!(clock.at(at - Duration::from_millis(2)), 1_000);
    }
}
