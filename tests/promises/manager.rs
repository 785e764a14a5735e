//! What the service manager is told (sd_notify(3)).

use std::os::unix::net::UnixDatagram;

use crate::support::stage::{Stage, letter, plain, until};

#[test]
fn the_service_manager_is_told_how_it_goes() {
    // Nothing listens there.
    let stage = Stage::new(&plain(9), "");
    let path = stage.dir().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    let mut hear = |what: &str| {
        let mut buffer = [0; 1024];
        until(what, || {
            while let Ok(n) = socket.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
            }
            heard.iter().any(|said| said.contains(what))
        });
        heard.clone()
    };
    let mut command = stage.command(&["run"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let service = stage.start(command);
    hear("READY=1");
    hear("STATUS=waiting 0, smarthost not tried yet");
    hear("WATCHDOG=1");
    stage.drop_in("1.eml", letter(1, &["ops@example.com"]));
    hear("STATUS=waiting 1, 127.0.0.1 NOT USABLE, connecting: ");
    assert_eq!(service.stop(), 0);
    let all = hear("STOPPING=1");
    assert_eq!(all.iter().filter(|said| said.as_str() == "READY=1").count(), 1, "{all:?}");
}
