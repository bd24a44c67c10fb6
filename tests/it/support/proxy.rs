//! A proxy for TCP that can be told to fail, between regseal and Redis, S3 or the registry behind.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::runtime;

pub struct TcpProxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

/// What happens to connections, those that stand and those to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// As if nobody listened there.
    Refuse,
    /// Connections are taken, and nothing goes either way; it goes on where it was when the mode ends.
    BlackHole,
    /// Each piece waits so long.
    Delay(Duration),
    /// Of what the target answers on one connection only so many bytes arrive, then the connection is reset.
    CutAfter(usize),
}

#[derive(Clone, Copy, Debug)]
struct State {
    mode: Mode,
    /// How many times the mode was set.
    turn: u64,
    /// How many times all connections were cut.
    cuts: u64,
}

impl TcpProxy {
    /// A proxy that lets everything pass to the address.
    pub fn to(target: &str) -> Self {
        let target: SocketAddr = target.parse().unwrap();
        let _runtime = runtime().enter();
        // Keeps the port while nobody listens on it: a socket that is bound but does not listen refuses connections.
        let reserved = socket();
        reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = reserved.local_addr().unwrap();
        let (state, watched) = watch::channel(State {
            mode: Mode::Pass,
            turn: 0,
            cuts: 0,
        });
        let listener = listen(address);
        let task = runtime().spawn(serve(reserved, listener, target, watched));
        Self {
            address,
            state,
            task,
        }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            state.turn += 1;
        });
    }

    /// Resets all connections that stand.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = socket();
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

async fn serve(
    _reserved: TcpSocket,
    first: TcpListener,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
) {
    let address = first.local_addr().unwrap();
    let mut listener = Some(first);
    // Whoever sets the mode has gone, and so has the proxy, when the state can no longer change.
    loop {
        let refuses = state.borrow_and_update().mode == Mode::Refuse;
        if refuses {
            listener = None;
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        let accepting = listener.get_or_insert_with(|| listen(address));
        tokio::select! {
            biased;
            changed = state.changed() => if changed.is_err() { return },
            accepted = accepting.accept() => if let Ok((client, _)) = accepted {
                tokio::spawn(connection(client, target, state.clone()));
            },
        }
    }
}

/// One connection from its beginning to its end, which is a reset when either side was reset or the mode wants it.
async fn connection(mut client: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    let cuts = state.borrow_and_update().cuts;
    let passing = state.clone();
    let mut server = None;
    let ended = tokio::select! {
        ended = forward(&mut client, &mut server, target, passing) => ended,
        _ = state.wait_for(|now| now.mode == Mode::Refuse || now.cuts != cuts) => Err(reset()),
    };
    // Not otherwise: it also drops what is still on its way.
    if ended.is_err() {
        for stream in [Some(client), server].into_iter().flatten() {
            let _ = stream.set_zero_linger();
        }
    }
}

async fn forward(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    passable(&mut state).await;
    let server = server.insert(TcpStream::connect(target).await?);
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        pump(from_client, to_server, state.clone(), false),
        pump(from_server, to_client, state, true),
    )?;
    Ok(())
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// Waits for the end of a black hole.
async fn passable(state: &mut watch::Receiver<State>) {
    // An error means that the proxy has gone; then nothing matters.
    let _ = state.wait_for(|now| now.mode != Mode::BlackHole).await;
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
    answers: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut turn = 0;
    let mut answered = 0;
    loop {
        passable(&mut state).await;
        let read = from.read(&mut buffer).await?;
        passable(&mut state).await;
        let now = *state.borrow();
        if now.turn != turn {
            (turn, answered) = (now.turn, 0);
        }
        if read == 0 {
            // The other direction may still have something to say.
            return to.shutdown().await;
        }
        let mut piece = &buffer[..read];
        if let Mode::Delay(delay) = now.mode {
            tokio::time::sleep(delay).await;
        }
        if let (Mode::CutAfter(most), true) = (now.mode, answers) {
            piece = &piece[..read.min(most.saturating_sub(answered))];
            answered += read;
            to.write_all(piece).await?;
            if answered >= most {
                return Err(reset());
            }
            continue;
        }
        to.write_all(piece).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener as Listener, TcpStream as Stream};

    use super::*;
    use crate::support::wait_for;

    /// Answers each byte with ten.
    fn echo() -> String {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() {
                        if stream.write_all(&[byte[0]; 10]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    fn ask(stream: &mut Stream) -> io::Result<[u8; 10]> {
        stream.write_all(b"a")?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).map(|()| answer)
    }

    #[test]
    fn a_proxy_does_as_it_is_told() {
        let proxy = TcpProxy::to(&echo());
        let connect = || Stream::connect(proxy.address()).unwrap();
        let mut standing = connect();
        assert_eq!(ask(&mut standing).unwrap(), *b"aaaaaaaaaa");

        proxy.set(Mode::BlackHole);
        let mut taken = connect();
        for stream in [&mut standing, &mut taken] {
            stream
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            assert_eq!(
                ask(stream).unwrap_err().kind(),
                io::ErrorKind::WouldBlock,
                "nothing passes"
            );
            stream.set_read_timeout(None).unwrap();
        }
        proxy.set(Mode::Delay(Duration::from_millis(10)));
        for stream in [&mut standing, &mut taken] {
            stream.read_exact(&mut [0; 10]).unwrap();
            ask(stream).unwrap();
        }

        proxy.set(Mode::Refuse);
        assert!(ask(&mut standing).is_err(), "what stood is reset");
        wait_for("refusal", || {
            let refused = Stream::connect(proxy.address()).err()?;
            (refused.kind() == io::ErrorKind::ConnectionRefused).then_some(())
        });

        proxy.set(Mode::CutAfter(4));
        let mut cut = wait_for("the listener", || Stream::connect(proxy.address()).ok());
        cut.write_all(b"a").unwrap();
        let mut arrived = Vec::new();
        assert!(cut.read_to_end(&mut arrived).is_err());
        assert!(arrived.len() <= 4, "a reset may overtake what was sent");

        proxy.set(Mode::Pass);
        let mut last = connect();
        ask(&mut last).unwrap();
        proxy.cut();
        assert!(ask(&mut last).is_err());
        ask(&mut connect()).unwrap();
    }
}
