//! A server of exact bytes, for registries and storage hosts that no library would be: it hears requests as they come
//! over the wire, and a script says what it does with each.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::PATIENCE;
use super::http::{Access, Endpoint};

pub struct Wire {
    pub endpoint: Endpoint,
    log: Log,
}

type Log = Arc<Mutex<Vec<Arc<Mutex<Heard>>>>>;

/// A request, as far as the script has read it.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The request line and the header lines, without their ends.
    pub head: Vec<String>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The trailer lines.
    pub trailers: Vec<String>,
    /// Whether the end of the body came.
    pub is_whole: bool,
}

/// One request that a script answers.
pub struct Exchange<'a> {
    pub heard: Heard,
    noted: Arc<Mutex<Heard>>,
    stream: &'a mut BufReader<TcpStream>,
    /// Whether the connection is used again.
    goes_on: bool,
}

impl Wire {
    pub fn start(script: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let log = Log::default();
        let (script, noted) = (Arc::new(script), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, noted) = (Arc::clone(&script), Arc::clone(&noted));
                std::thread::spawn(move || serve(stream.unwrap(), &*script, &noted));
            }
        });
        Self {
            endpoint: Endpoint {
                authority,
                access: Access::Open,
            },
            log,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.endpoint.authority)
    }

    /// All requests since the last call, as far as they were read when their answer began.
    pub fn heard(&self) -> Vec<Heard> {
        let heard = std::mem::take(&mut *self.log.lock().unwrap());
        let heard = heard.iter().map(|heard| heard.lock().unwrap().clone());
        heard.collect()
    }
}

impl Heard {
    /// Method and target.
    pub fn line(&self) -> (&str, &str) {
        let mut words = self.head[0].split(' ');
        (words.next().unwrap(), words.next().unwrap_or_default())
    }

    pub fn target(&self) -> &str {
        self.line().1
    }

    /// The values of all lines of that name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head[1..].iter();
        lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The value of the one line of that name, empty when there is none.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let values = self.values(name);
        assert!(values.len() < 2, "{name} occurs twice: {self:?}");
        values.first().copied().unwrap_or_default()
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .eq_ignore_ascii_case("chunked")
    }
}

impl Exchange<'_> {
    /// Reads the body to its end, if it comes.
    pub fn read_body(&mut self) {
        self.heard.is_whole = if self.heard.is_chunked() {
            self.read_chunks().is_some()
        } else {
            let length = self.heard.header("content-length").parse().unwrap_or(0);
            let taken = self.stream.by_ref().take(length);
            let read = { taken }.read_to_end(&mut self.heard.body);
            read.is_ok_and(|read| u64::try_from(read) == Ok(length))
        };
        self.goes_on = self.heard.is_whole;
    }

    /// Reads so many bytes of what follows the head, with whatever framing they have.
    pub fn read_bytes(&mut self, count: usize) -> bool {
        let mut bytes = vec![0; count];
        let came = self.stream.read_exact(&mut bytes).is_ok();
        self.heard.body.extend(bytes);
        came
    }

    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.noted.lock().unwrap().clone_from(&self.heard);
        // Whoever does not want to hear is seen by the test that waits for an answer.
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// An answer with a body of known length.
    pub fn answer(&mut self, status: u16, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let length = body.len();
        self.say(format!(
            "HTTP/1.1 {status} Said\r\n{headers}Content-Length: {length}\r\n\r\n"
        ));
        if self.heard.line().0 != "HEAD" {
            self.say(body);
        }
    }

    /// Ends what is said, as an orderly server does.
    pub fn close(&mut self) {
        let _ = self.stream.get_mut().shutdown(Shutdown::Write);
        self.goes_on = false;
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    fn read_chunks(&mut self) -> Option<()> {
        loop {
            let length = usize::from_str_radix(&line(self.stream)?, 16).ok()?;
            if length == 0 {
                break;
            }
            let mut chunk = vec![0; length];
            self.stream.read_exact(&mut chunk).ok()?;
            self.heard.body.extend(chunk);
            line(self.stream)?;
        }
        loop {
            let trailer = line(self.stream)?;
            if trailer.is_empty() {
                return Some(());
            }
            self.heard.trailers.push(trailer);
        }
    }
}

fn serve(stream: TcpStream, script: &(impl Fn(&mut Exchange<'_>) + ?Sized), log: &Log) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    loop {
        let mut heard = Heard::default();
        loop {
            match line(&mut stream) {
                None => return,
                Some(line) if line.is_empty() => break,
                Some(line) => heard.head.push(line),
            }
        }
        let noted = Arc::new(Mutex::new(heard.clone()));
        log.lock().unwrap().push(Arc::clone(&noted));
        let mut exchange = Exchange {
            heard,
            noted,
            stream: &mut stream,
            goes_on: false,
        };
        script(&mut exchange);
        exchange.noted.lock().unwrap().clone_from(&exchange.heard);
        if !exchange.goes_on {
            return;
        }
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).ok()?;
    let line = line.strip_suffix(b"\r\n")?;
    Some(String::from_utf8_lossy(line).into_owned())
}
