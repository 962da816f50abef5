use std::net::UdpSocket;

use super::word::tests::keys;
use super::*;

#[tokio::test]
async fn everything_is_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    assert!(take(&path).await.unwrap().is_none());
    let listener = Listener::bind(&path).unwrap();
    let copy = listener.try_clone().unwrap();
    let mut listener = Listener::new(listener).unwrap();
    let sockets = keys(150).into_iter().map(|key| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        (key, OwnedFd::from(socket))
    });
    let estate = Estate {
        sockets: sockets.collect(),
        warm: Some(tempfile::tempfile().unwrap().into()),
        listener: Some(copy),
    };
    let old = tokio::spawn(async move {
        let Caller::Successor(channel) = listener.accept().await.unwrap() else {
            panic!("an orphan");
        };
        give(&channel, &estate).await.unwrap();
        let mut settled = Vec::new();
        loop {
            match hear(&channel).await.unwrap() {
                Some((Word::Settled { keys, last }, _)) => {
                    settled.extend(keys);
                    if last {
                        return (settled, hear(&channel).await.unwrap().is_none());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let (channel, estate) = take(&path).await.unwrap().unwrap();
    let taken: Vec<Key> = estate.sockets.iter().map(|(key, _)| *key).collect();
    assert_eq!(taken, keys(150));
    assert!(estate.warm.is_some() && estate.listener.is_some());
    settle(&channel, &taken).unwrap();
    drop(channel);
    assert_eq!(old.await.unwrap(), (taken, true));
}

#[tokio::test]
async fn what_is_at_the_path_may_be_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    fs::write(&path, "").unwrap();
    let error = take(&path).await.unwrap_err().to_string();
    assert!(error.ends_with("handover.sock is no socket"), "{error}");
    fs::remove_file(&path).unwrap();

    // One that was left behind is replaced. Children that other tests start
    // have a copy of it until they begin.
    drop(Listener::bind(&path).unwrap());
    let shown = path.display().to_string();
    while fs::read_to_string("/proc/net/unix")
        .unwrap()
        .contains(&shown)
    {
        tokio::task::yield_now().await;
    }
    assert!(take(&path).await.unwrap().is_none());
    drop(Listener::bind(&path).unwrap());
    fs::remove_file(&path).unwrap();

    let stream = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(take(&path).await, Err(TakeError::System { .. })));
    drop(stream);
    fs::remove_file(&path).unwrap();

    let stranger = Listener::new(Listener::bind(&path).unwrap()).unwrap();
    let taking = tokio::spawn({
        let path = path.clone();
        async move { take(&path).await }
    });
    let caller = Channel::from(stranger.socket.accept().await.unwrap().0);
    caller.send(b"220 hello\r\n", &[]).await.unwrap();
    let error = taking.await.unwrap().unwrap_err().to_string();
    assert!(
        error.contains("is no pando-node of this version"),
        "{error}"
    );
}

#[tokio::test]
async fn a_caller_that_says_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let mut listener = Listener::new(Listener::bind(&path).unwrap()).unwrap();
    let caller = dial(&path).unwrap();
    caller.send(b"GET / HTTP/1.1\r\n", &[]).await.unwrap();
    assert!(listener.accept().await.is_err());
    assert!(caller.receive().await.unwrap().is_none());
}

#[tokio::test]
async fn callers_that_say_nothing_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let mut listener = Listener::new(Listener::bind(&path).unwrap()).unwrap();
    let accepted = tokio::spawn(async move {
        loop {
            // Those that are gone are told of, too.
            if let Ok(Caller::Successor(channel)) = listener.accept().await {
                return channel;
            }
        }
    });
    let mut silent = Vec::new();
    for count in 0..CALLERS - 1 {
        silent.push(dial(&path).unwrap());
        // One that floods us with descriptors, and one that goes at once.
        let files = [folder.path(); MAX_DESCRIPTORS].map(|path| fs::File::open(path).unwrap());
        let files = files.each_ref().map(AsFd::as_fd);
        match count {
            1 => silent[1].send_now(b"?", &files).unwrap(),
            2 => drop(silent.pop()),
            _ => {}
        }
        tokio::task::yield_now().await;
    }
    let caller = dial(&path).unwrap();
    say(&caller, &Word::Hello, &[]).unwrap();
    let hello = timeout(GREETING / 2, hear(&caller)).await;
    assert_eq!(hello.unwrap().unwrap().unwrap().0, Word::Hello);
    drop(accepted.await.unwrap());
}
