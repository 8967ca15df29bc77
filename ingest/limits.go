package ingest

import (
	"time"

	"yjet/internal/yjs"
)

// Limits bound the use of one connection, one document, and all together. A zero
// field means its default.
type Limits struct {
	Message         int           // bytes of one message, default 16 MiB; one that brings content of a document may have as much as a document, see largest
	FirstMessage    int           // bytes of the first message of a connection whose rights are not known yet, default 1 MiB
	FirstWait       time.Duration // from open to the first message, default 10 s
	SilentWait      time.Duration // a client that has sent nothing for so long is sent our step 1, default 1 s
	MessageWait     time.Duration // to finish a message once begun, default 10 s without a byte
	MessageRate     float64       // messages other than updates that are read from a connection a second, default 1,000; the rest is read later
	MessageBurst    float64       // default 5,000
	BulkRate        float64       // messages a second from which on a connection's messages go through the lane, default 200
	BulkBurst       float64       // default 500
	ByteRate        float64       // bytes that are read from a connection a second, answers to a step 1 exempt, default 8 MiB; the rest is read later
	ByteBurst       float64       // default 32 MiB
	QueueFrames     int           // frames waiting for one connection before it has to catch up, default 256
	QueueSoft       int           // bytes likewise, default 1 MiB
	QueueHard       int           // bytes at which a connection is closed, default 8 MiB
	WriteWait       time.Duration // a socket that takes no byte for so long is dropped, default 10 s
	PingEvery       time.Duration // default 20 s
	DeadAfter       time.Duration // nothing heard, default 45 s
	SilenceMax      time.Duration // an application message goes out at least so often, default 15 s
	AwarenessState  int           // bytes of one awareness state, default 64 KiB
	AwarenessBytes  int           // bytes of all awareness states in a document, default 4 MiB; a client that joins is sent them at once, so less than QueueHard
	AwarenessOwn    int           // ids a session may own, default 32
	AwarenessStates int           // ids in a document, default 10,000
	AwarenessEvery  time.Duration // an id's states go out at most so often, default 40 ms
	Held            int           // updates held for missing dependencies, a session, default 64
	HeldBytes       int           // default 16 MiB
	HeldWait        time.Duration // default 30 s
	RoomBytes       int           // bytes waiting for the log in one room before senders are read no further, default 4 MiB
	AppendWait      time.Duration // how long a commit is tried before its writers are sent away, default 30 s
	Document        int           // bytes of a document, default 50 MiB; above it writes are refused
	PerDocument     int           // sessions in one document, default 5,000
	PerIP           int           // connections from one address whose user is not known, default 200
	Requests        int           // HTTP requests of one address that are being answered, default 100
	HeavyQueue      int           // heavy HTTP requests that wait for their turn, default 100
	PerUser         int           // connections of one signed-in user, default 200
	Connections     int           // in all, default 20,000
	NewPerIP        float64       // new connections a second from one address, default 20
	NewPerIPBurst   float64       // default 100
	NewDocuments    float64       // documents begun a minute by one user, or from one address without a user, default 120
	Documents       int           // open documents, default 10,000
	UserDocuments   int           // documents one user has open, default 1,000
	Versions        int           // named versions of one document, default 200; the owner of the snapshot store passes it on
	Loads           int           // documents loading at once, default 32
	LoadWait        time.Duration // waiting for and loading a document, default 30 s
	IdleUnload      time.Duration // a room without sessions is kept so long, default 30 s
	LeaveWait       time.Duration // presence of a socket that broke off is kept so long, default 3 s
	MaxSession      time.Duration // a session goes on so long, give or take a third, after its token has expired, where OnExpiry is keep; default 12 h
	RefusalHold     time.Duration // how long a refused socket is held open, give or take a third, default 3 s
	Update          yjs.Limits
	Shape           yjs.DocumentLimits // of a document, beside its bytes: the work it is for a stock client
}

func set[T int | float64 | time.Duration](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

// withDefaults fills zero fields (limits as in the README).
func (l Limits) withDefaults() Limits {
	set(&l.Message, 16<<20)
	set(&l.Versions, 200)
	set(&l.FirstMessage, 1<<20)
	set(&l.FirstWait, 10*time.Second)
	set(&l.SilentWait, time.Second)
	set(&l.MessageWait, 10*time.Second)
	set(&l.MessageRate, 1000)
	set(&l.MessageBurst, 5000)
	set(&l.BulkRate, 200)
	set(&l.BulkBurst, 500)
	set(&l.ByteRate, 8<<20)
	set(&l.ByteBurst, 32<<20)
	set(&l.QueueFrames, 256)
	set(&l.QueueSoft, 1<<20)
	set(&l.QueueHard, 8<<20)
	set(&l.WriteWait, 10*time.Second)
	set(&l.PingEvery, 20*time.Second)
	set(&l.DeadAfter, 45*time.Second)
	set(&l.SilenceMax, 15*time.Second)
	set(&l.AwarenessState, 64<<10)
	set(&l.AwarenessBytes, 4<<20)
	set(&l.AwarenessOwn, 32)
	set(&l.AwarenessStates, 10_000)
	set(&l.AwarenessEvery, 40*time.Millisecond)
	set(&l.Held, 64)
	set(&l.HeldBytes, 16<<20)
	set(&l.HeldWait, 30*time.Second)
	set(&l.RoomBytes, 4<<20)
	set(&l.AppendWait, 30*time.Second)
	set(&l.Document, 50<<20)
	set(&l.PerDocument, 5_000)
	set(&l.PerIP, 200)
	set(&l.Connections, 20_000)
	set(&l.Requests, 100)
	set(&l.HeavyQueue, 100)
	set(&l.NewPerIP, 20)
	set(&l.NewPerIPBurst, 100)
	set(&l.NewDocuments, 120)
	set(&l.Documents, 10_000)
	set(&l.PerUser, 200)
	set(&l.UserDocuments, 1000)
	set(&l.Loads, 32)
	set(&l.LoadWait, 30*time.Second)
	set(&l.IdleUnload, 30*time.Second)
	set(&l.LeaveWait, 3*time.Second)
	set(&l.MaxSession, 12*time.Hour)
	set(&l.RefusalHold, 3*time.Second)
	set(&l.Update.Expanded, l.largest()) // an update V2 may not become larger than one in V1 may be
	return l
}

// largest is how many bytes an update may have. A document that is below its bound may grow by one message, and whatever the server
// holds can be sent to it again in one piece: stock clients cannot cut their answer to a step 1.
func (l *Limits) largest() int { return l.Document + l.Message }
