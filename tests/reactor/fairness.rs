//! Who is small gets through while bulk runs, and bulk runs on.

use crate::toys::{Home, Running, noise};
use distrishare::config::Limits;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Reads for ever, until told to stop; starts anew at the end of a file.
fn reader(
    mut ask: impl FnMut() -> TcpStream + Send + 'static,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        let mut total = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut stream = ask();
            while !stop.load(Ordering::Relaxed) {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => total += n as u64,
                }
            }
        }
        total
    })
}

#[test]
fn small_requests_are_served_beside_bulk() {
    // hostile: 190
    let home = Home::new();
    home.share("big.bin", &noise(64 << 20));
    let server = Running::start(&home, &Limits::desktop());
    let idle: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let addr = server.addr;
    let ask = move || {
        use std::io::Write;
        let mut stream = crate::toys::connect(addr);
        stream.write_all(b"GET big.bin\n").expect("sent");
        stream
    };
    let readers: Vec<_> = (0..4).map(|_| reader(ask, Arc::clone(&stop))).collect();
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(server.get("SMALL"), b"small\n");
            begun.elapsed()
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    let bulk: u64 = readers.into_iter().map(|reader| reader.join().expect("ends")).sum();
    took.sort();
    println!("beside {} MB: p50 {:?}, p99 {:?}, worst {:?}", bulk >> 20, took[100], took[197], took[199]);
    assert!(took[197] < Duration::from_millis(100), "{:?}", took[197]);
    assert!(bulk > 10 << 20, "{bulk}");
    drop(idle);
    server.stop();
}

#[test]
fn a_flood_of_small_requests_does_not_stop_bulk() {
    let home = Home::new();
    let content = noise(32 << 20);
    home.share("big.bin", &content);
    let limits = Limits { turn_bytes: 64 << 10, bulk_quantum: 64 << 10, ..Limits::desktop() };
    let server = Running::start(&home, &limits);
    let stop = Arc::new(AtomicBool::new(false));
    let addr = server.addr;
    let flood: Vec<_> = (0..4)
        .map(|_| {
            let ask = move || {
                use std::io::Write;
                let mut stream = crate::toys::connect(addr);
                stream.write_all(b"SMALL\n").expect("sent");
                stream
            };
            reader(ask, Arc::clone(&stop))
        })
        .collect();
    assert!(server.get("GET big.bin") == content);
    stop.store(true, Ordering::Relaxed);
    for thread in flood {
        thread.join().expect("ends");
    }
    server.stop();
}
