//! Servers on the loopback interface, which behave well or badly.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread::sleep;
use std::time::Duration;

use flate2::write::GzEncoder;

/// A server's reaction to a request, given the file's name and the connection.
pub type Answer = Arc<dyn Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync>;

/// Starts a server, and returns its address. It runs as long as the test.
pub fn serve(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || -> io::Result<()> {
                let name = requested(&stream)?;
                // A client that goes away in the middle is the client's business.
                answer(&name, &mut stream)
            });
        }
    });
    address
}

fn requested(stream: &TcpStream) -> io::Result<String> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned())
}

fn promise(stream: &mut TcpStream, bytes: u64) -> io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n")
}

/// Serves the files of a directory.
pub fn good(directory: &Path) -> Answer {
    let directory = directory.to_owned();
    Arc::new(move |name, stream| give(&fs::read(directory.join(name))?, stream))
}

/// The same, but serves the last file only once two clients have requested it.
pub fn good_for_two(directory: &Path) -> Answer {
    let (directory, both) = (directory.to_owned(), Barrier::new(2));
    Arc::new(move |name, stream| {
        if name.starts_with("t10k-labels") {
            both.wait();
        }
        give(&fs::read(directory.join(name))?, stream)
    })
}

/// The same, with a header that wrongly claims gzip as the encoding.
pub fn calls_it_encoded(directory: &Path) -> Answer {
    let directory = directory.to_owned();
    Arc::new(move |name, stream| {
        let body = fs::read(directory.join(name))?;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n")?;
        write!(stream, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
        stream.write_all(&body)
    })
}

/// Serves something else instead of each file.
pub fn wrong(body: &[u8]) -> Answer {
    let body = body.to_owned();
    Arc::new(move |_, stream| give(&body, stream))
}

fn give(body: &[u8], stream: &mut TcpStream) -> io::Result<()> {
    promise(stream, body.len() as u64)?;
    stream.write_all(body)
}

/// Redirects the request to another server.
pub fn redirect(to: String) -> Answer {
    Arc::new(move |name, stream| nothing(&format!("302 Found\r\nLocation: {to}/{name}"), stream))
}

pub fn status(status: u16) -> Answer {
    Arc::new(move |_, stream| nothing(&format!("{status} No"), stream))
}

fn nothing(status: &str, stream: &mut TcpStream) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// Promises a file and hangs up in its middle.
pub fn cut_off() -> Answer {
    Arc::new(|_, stream| {
        promise(stream, 1000)?;
        stream.write_all(&[7; 500])
    })
}

/// Promises a file and sends nothing more.
pub fn silent() -> Answer {
    Arc::new(|_, stream| {
        promise(stream, 1000)?;
        sleep(Duration::from_secs(60));
        Ok(())
    })
}

/// Promises a file and sends a byte of it now and then.
pub fn slow() -> Answer {
    Arc::new(|_, stream| {
        promise(stream, 1000)?;
        now_and_then(&[7; 1000], stream)
    })
}

/// Sends a byte of its header now and then.
pub fn slow_to_start() -> Answer {
    Arc::new(|_, stream| {
        now_and_then(&[b"HTTP/1.1 200 OK\r\nX: ", &[b'x'; 1000][..]].concat(), stream)
    })
}

fn now_and_then(bytes: &[u8], stream: &mut TcpStream) -> io::Result<()> {
    bytes.iter().try_for_each(|&byte| {
        sleep(Duration::from_millis(100));
        stream.write_all(&[byte])
    })
}

pub fn hangs_up() -> Answer {
    Arc::new(|_, _| Ok(()))
}

pub fn speaks_no_http() -> Answer {
    Arc::new(|_, stream| stream.write_all(b"220 mail.example ESMTP\r\n"))
}

/// Promises no length and never ends.
pub fn endless() -> Answer {
    Arc::new(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(&[0; 1 << 16])?;
        }
    })
}

/// Promises an absurd length.
pub fn boasts() -> Answer {
    Arc::new(|_, stream| {
        promise(stream, u64::MAX)?;
        stream.write_all(&[7; 500])
    })
}

/// A gzip file with this content.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
