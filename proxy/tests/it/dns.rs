//! A name server that says what it is told to say, over UDP and TCP, and keeps what it was asked. Never asks anybody else.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use hickory_resolver::proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Without a dot at the end.
    pub(crate) name: String,
    pub(crate) six: bool,
    pub(crate) over_tcp: bool,
    /// How often the same was asked before.
    pub(crate) before: usize,
}

/// What it says.
pub(crate) enum Said {
    /// Addresses of the family that was asked for, and how long they hold, in seconds.
    Addresses(Vec<&'static str>, u32),
    /// Another name, and what it knows of that one.
    Alias(&'static str, Vec<&'static str>),
    Code(ResponseCode),
    /// That there is more than a datagram holds.
    Cut,
    /// Nothing at all.
    Silence,
}

type Answering = dyn Fn(&Question) -> Said + Send + Sync;

pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Question>>>,
}

/// Addresses that hold long.
pub(crate) fn at(addresses: &[&'static str]) -> Said {
    Said::Addresses(addresses.to_vec(), 300)
}

impl Dns {
    pub(crate) async fn start(answer: impl Fn(&Question) -> Said + Send + Sync + 'static) -> Self {
        let (datagrams, connections) = loop {
            let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The same port for both; somebody else may have the other one.
            match TcpListener::bind(datagrams.local_addr().unwrap()).await {
                Ok(connections) => break (datagrams, connections),
                Err(_) => continue,
            }
        };
        let address = datagrams.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let desk = Desk {
            asked: Arc::clone(&asked),
            answer: Arc::new(answer),
        };
        tokio::spawn(desk.clone().datagrams(datagrams));
        tokio::spawn(desk.connections(connections));
        Self { address, asked }
    }

    /// Every question so far.
    pub(crate) fn asked(&self) -> Vec<Question> {
        self.asked.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Desk {
    asked: Arc<Mutex<Vec<Question>>>,
    answer: Arc<Answering>,
}

impl Desk {
    async fn datagrams(self, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = self.answer(&buffer[..length], false) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    }

    async fn connections(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().connection(stream));
        }
    }

    async fn connection(self, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            if let Some(answer) = self.answer(&question, true) {
                let length = u16::try_from(answer.len()).unwrap();
                stream.write_u16(length).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    }

    fn answer(&self, bytes: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let message = Message::from_vec(bytes).unwrap();
        let query = message.queries[0].clone();
        let said = (self.answer)(&self.note(&query, over_tcp));
        let mut answer = Message::response(message.metadata.id, OpCode::Query);
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        match said {
            Said::Addresses(addresses, ttl) => {
                answer.add_answers(records(&query, query.name(), (&addresses, ttl)));
            }
            Said::Alias(alias, addresses) => {
                let alias = Name::from_ascii(alias).unwrap();
                let data = RData::CNAME(CNAME(alias.clone()));
                answer.add_answer(Record::from_rdata(query.name().clone(), 300, data));
                answer.add_answers(records(&query, &alias, (&addresses, 300)));
            }
            Said::Code(code) => answer.metadata.response_code = code,
            Said::Cut => answer.metadata.truncation = true,
            Said::Silence => return None,
        }
        Some(answer.to_vec().unwrap())
    }

    fn note(&self, query: &Query, over_tcp: bool) -> Question {
        let mut asked = self.asked.lock().unwrap();
        let mut question = Question {
            name: query.name().to_ascii().trim_end_matches('.').to_lowercase(),
            six: query.query_type() == RecordType::AAAA,
            over_tcp,
            before: 0,
        };
        let same = |old: &&Question| {
            (&old.name, old.six, old.over_tcp) == (&question.name, question.six, over_tcp)
        };
        question.before = asked.iter().filter(same).count();
        asked.push(question.clone());
        question
    }
}

/// What of these the question asked for.
fn records(query: &Query, name: &Name, (addresses, ttl): (&[&str], u32)) -> Vec<Record> {
    let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
    let fitting = addresses.filter_map(|address| match (address, query.query_type()) {
        (IpAddr::V4(four), RecordType::A) => Some(RData::A(four.into())),
        (IpAddr::V6(six), RecordType::AAAA) => Some(RData::AAAA(six.into())),
        _ => None,
    });
    fitting
        .map(|data| Record::from_rdata(name.clone(), ttl, data))
        .collect()
}
