//! The MNIST example's download, from servers on the loopback that do all that servers do.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use common::{example, mnist_directory, stderr};
use tempfile::TempDir;

/// What a server does with each request.
#[derive(Clone)]
enum Server {
    /// Gives the files of a directory.
    Good(PathBuf),
    /// Sends the request on to another server.
    Redirect(String),
    Status(u16),
    /// Gives something else.
    Wrong,
    /// Promises a file and hangs up in its middle.
    CutOff(PathBuf),
    /// Promises a file and says nothing more.
    Silent,
}

/// Starts a server, and gives its address. It lives as long as the test.
fn serve(server: Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = server.clone();
            // A client that goes away in the middle is the client's business.
            std::thread::spawn(move || drop(answer(&server, stream)));
        }
    });
    address
}

fn answer(server: &Server, mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let name = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut ok = |length: usize, body: &[u8]| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
        stream.write_all(body)
    };
    match server {
        Server::Good(directory) => {
            let body = fs::read(directory.join(name))?;
            ok(body.len(), &body)
        }
        Server::CutOff(directory) => {
            let body = fs::read(directory.join(name))?;
            ok(body.len(), &body[..body.len() / 2])
        }
        Server::Wrong => ok(11, b"not a digit"),
        Server::Silent => {
            ok(1000, b"")?;
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        Server::Redirect(to) => write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {to}/{name}\r\nContent-Length: 0\r\n\r\n"
        ),
        Server::Status(status) => {
            write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")
        }
    }
}

fn download(into: &Path, mirrors: &[String]) -> Output {
    let mut command = example("mnist");
    command.env("MNIST_MIRRORS", mirrors.join(" ")).env("MNIST_TIMEOUT", "2");
    command.args(["--layers", "none", "--epochs", "1", "--batch-size", "6000", "--data-dir"]);
    command.arg(into).output().unwrap()
}

fn empty_directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const FOUR_FILES: [&str; 4] = [
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
];

#[test]
fn each_fault_is_a_line_and_the_next_mirror_helps() {
    let Some(mnist) = mnist_directory() else { return };
    let good = serve(Server::Good(mnist.clone()));
    for (server, words) in [
        (Server::Status(404), "404"),
        (Server::Status(500), "500"),
        (Server::Wrong, "what came is of no use: it is damaged"),
        (Server::CutOff(mnist.clone()), ""),
        (Server::Silent, "timeout"),
    ] {
        let directory = empty_directory();
        let bad = serve(server);
        let output = download(directory.path(), &[bad.clone(), good.clone()]);
        let text = stderr(&output);
        assert!(output.status.success(), "{text}");
        let line = text.lines().find(|line| line.starts_with(&bad)).expect(&text);
        assert!(line.contains(words), "{words:?} should be in {line}");
        assert!(text.contains("MNIST: 60000 training and 10000 test images"));
        assert_eq!(files(directory.path()), FOUR_FILES);
    }
}

#[test]
fn what_is_there_is_not_downloaded_again() {
    let Some(mnist) = mnist_directory() else { return };
    let directory = empty_directory();
    let redirect = serve(Server::Redirect(serve(Server::Good(mnist))));
    assert!(download(directory.path(), &[redirect]).status.success());
    let nowhere = ["http://127.0.0.1:9".to_owned()];
    let output = download(directory.path(), &nowhere);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("Downloading"));
}

#[test]
fn a_part_of_mnist_is_completed() {
    let Some(mnist) = mnist_directory() else { return };
    let directory = empty_directory();
    let part = FOUR_FILES[3];
    fs::copy(mnist.join(part), directory.path().join(part)).unwrap();
    let output = download(directory.path(), &[serve(Server::Good(mnist))]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(files(directory.path()), FOUR_FILES);
}

#[test]
fn no_good_mirror_leaves_nothing_behind() {
    for server in [Server::Status(404), Server::Wrong, Server::Silent] {
        let directory = empty_directory();
        let output = download(directory.path(), &[serve(server)]);
        assert!(!output.status.success());
        let last = stderr(&output).lines().last().unwrap_or_default().to_owned();
        assert_eq!(last, "error: MNIST could not be downloaded from any mirror");
        assert!(files(directory.path()).is_empty());
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    let directory = empty_directory();
    fs::write(directory.path().join("file"), "").unwrap();
    let output = download(&directory.path().join("file/data"), &[]);
    assert!(!output.status.success());
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("file/data"));
}

#[test]
fn two_at_once_end_with_one_good_copy() {
    let Some(mnist) = mnist_directory() else { return };
    let directory = empty_directory();
    let mirrors = [serve(Server::Good(mnist))];
    let outputs = std::thread::scope(|scope| {
        let start = || scope.spawn(|| download(directory.path(), &mirrors));
        [start(), start()].map(|thread| thread.join().unwrap())
    });
    for output in outputs {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert_eq!(files(directory.path()), FOUR_FILES);
}
