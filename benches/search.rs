//! A search over 1, 10, 100 and 1,000 nodes that are known from a registry. The nodes are addresses of the loopback, all
//! behind one socket; every tenth has the file. What is measured is the asking peer with its real reactor (and the
//! answers' share of the other core): from the line typed to the end of the command.
#![allow(missing_docs)] // criterion's macros make functions without

#[path = "support/mod.rs"]
mod support;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use distrishare::config::Limits;
use distrishare::proto::registry::encode_reply;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use support::Node;

/// The address of the `n`th node.
fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + u32::try_from(n + n / 254 * 2 + 1).expect("few"))
}

/// Reads one object and answers it; whatever fails is the asker's loss.
fn answer(stream: &mut TcpStream, with: impl FnOnce(&str) -> Vec<u8>) -> std::io::Result<()> {
    let (mut request, mut part) = (Vec::new(), [0; 512]);
    while !request.ends_with(b"}") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&part[..n]),
        }
    }
    stream.write_all(&with(&String::from_utf8_lossy(&request)))?;
    stream.shutdown(Shutdown::Write)
}

/// All the nodes, and the registry that knows them: one listener, told apart by the address that was dialled. Runs until
/// the process ends.
fn start_nodes(count: usize) -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).expect("bound");
    socket.listen(1024).expect("listens");
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().expect("bound").port();
    #[allow(clippy::disallowed_methods)] // the world of the peer under test
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(IpAddr::V4(dialled)) = stream.local_addr().map(|addr| addr.ip()) else { continue };
            let _ = answer(&mut stream, |_| {
                if dialled == Ipv4Addr::LOCALHOST {
                    let nodes: Vec<SocketAddr> = (0..count).map(|n| (address(n), port).into()).collect();
                    encode_reply(&nodes, 64 << 10).0
                } else if dialled.octets()[3] % 10 == 1 {
                    b"FOUND".to_vec()
                } else {
                    b"NOT_FOUND".to_vec()
                }
            });
        }
    });
    (Ipv4Addr::LOCALHOST, port).into()
}

fn search(c: &mut Criterion) {
    let mut group = c.benchmark_group("search");
    group.sampling_mode(SamplingMode::Flat).sample_size(20);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    for count in [1, 10, 100, 1000] {
        group.throughput(Throughput::Elements(count as u64));
        let mut node = None;
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            let node = node.get_or_insert_with(|| {
                let mut node = Node::start(&Limits::desktop(), Some(start_nodes(count)));
                node.tell("bootstrap\n");
                node.event("done");
                node
            });
            b.iter(|| {
                node.tell("search file.bin\n");
                for _ in 0..count.div_ceil(10) {
                    node.event("found");
                }
                node.event("done");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
