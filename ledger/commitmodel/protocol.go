package commitmodel

import "fmt"

// A Fault is a rule of the protocol that is left out.
type Fault string

// The faults.
const (
	None Fault = ""
	// SignBeforeWon signs a commit when it is sent.
	SignBeforeWon Fault = "a server signs a commit whose outcome is unknown"
	// UndecidedIsLost treats a lost answer as a refusal by the engine.
	UndecidedIsLost Fault = "a server takes a lost answer for a lost commit"
	// ReadBeforeDurable believes what the engine shows before it is durable.
	ReadBeforeDurable Fault = "a server believes a commit that is not yet durable"
	// CreateOverwrites writes a commit whether or not its place is taken.
	CreateOverwrites Fault = "the engine overwrites a commit"
	// SendAhead sends a commit before the one it was computed on is known.
	SendAhead Fault = "a server sends a commit before the outcome of the one before"
	// KeepSpeculation keeps what was computed on a commit that was lost.
	KeepSpeculation Fault = "a server keeps what it computed on a lost commit"
	// AnswerEarly answers from a commit whose outcome is unknown.
	AnswerEarly Fault = "a server answers a repeated submission from an undecided commit"
	// SearchPublished looks for a repeated submission in published entries.
	SearchPublished Fault = "a server does not look for a repeated submission in the commit that is pending"
	// IgnorePolicy places drafts without comparing policies.
	IgnorePolicy Fault = "a server places a draft that a policy change has overtaken"
	// RetryRestores writes a commit's openings before the engine refuses it.
	RetryRestores Fault = "a repeated request writes erased content again"
)

// Faults are all faults, each with an invariant that it breaks.
var Faults = map[Fault]string{
	SignBeforeWon:     "nothing is signed before it is known to be won",
	UndecidedIsLost:   "what was refused is not recorded",
	ReadBeforeDurable: "nothing is signed before it is known to be won",
	CreateOverwrites:  "one history",
	SendAhead:         "each commit follows the one that it was computed on",
	KeepSpeculation:   "each commit follows the one that it was computed on",
	AnswerEarly:       "an acknowledged entry is in every later state",
	SearchPublished:   "an entry is recorded once",
	IgnorePolicy:      "an entry names the policy in force at its place",
	RetryRestores:     "what was erased stays erased",
}

// A Protocol is the protocol in force, or one with a fault.
type Protocol struct {
	Fault            Fault
	Crashes, Outages int8 // how many of each may happen
}

func (p Protocol) initial() State { return State{crashes: p.Crashes, outages: p.Outages} }

// next returns every step that can be taken.
func (p Protocol) next(s *State) []Step {
	var steps []Step
	add := func(to State, format string, args ...any) {
		p.forget(&to)
		if to != *s {
			steps = append(steps, Step{fmt.Sprintf(format, args...), to})
		}
	}
	p.engineSteps(s, add)
	for i := range s.servers {
		p.serverSteps(s, int8(i), add)
	}
	return steps
}

// forget clears requests that can have no effect any more, so that states that
// differ only in them are visited once.
func (p Protocol) forget(s *State) {
	if p.Fault != None {
		return
	}
	for i := range s.requests {
		for k, r := range s.requests[i] {
			if r.place < s.durable {
				s.requests[i][k] = request{}
			}
		}
	}
}

// engineSteps adds what engine and network can do.
func (p Protocol) engineSteps(s *State, add func(State, string, ...any)) {
	for i := range s.requests {
		for k, r := range s.requests[i] {
			if r.commit != (commit{}) {
				add(p.deliver(*s, r), "deliver(commit %d of server %d)", k+1, i+1)
			}
		}
	}
	if s.durable < places && s.cells[s.durable] != (commit{}) {
		to := *s
		to.durable++
		add(to, "sync()")
	}
	if s.outages > 0 {
		to := *s
		to.losePower()
		add(to, "lose power()")
	}
}

// deliver brings a request to the engine, which creates the commit atomically
// with its content, or refuses because the place is taken.
func (p Protocol) deliver(s State, r request) State {
	d := r.commit.draft
	if s.cells[r.place] != (commit{}) && p.Fault != CreateOverwrites {
		if p.Fault == RetryRestores && s.cells[r.place].id == r.commit.id {
			s.openings[d] = true
		}
		return s
	}
	s.cells[r.place] = r.commit
	s.openings[d] = true
	if d == erasureOfA {
		s.openings[evidenceA] = false
	}
	return s
}

// losePower drops what is not durable.
func (s *State) losePower() {
	s.outages--
	for i := s.durable; i < places; i++ {
		s.cells[i] = commit{}
	}
	for d := evidenceA; d < drafts; d++ {
		s.openings[d] = s.cells.has(d, places)
	}
	if s.openings[erasureOfA] {
		s.openings[evidenceA] = false
	}
}

// serverSteps adds what server i can do.
func (p Protocol) serverSteps(s *State, i int8, add func(State, string, ...any)) {
	me := &s.servers[i]
	for d := evidenceA; d < drafts; d++ {
		p.place(s, i, d, add)
	}
	if me.size < places {
		p.learn(s, i, add)
	}
	if me.pending != (commit{}) && p.Fault == UndecidedIsLost && s.cells[me.size] == (commit{}) {
		to := *s
		to.answers[me.pending.draft] = refused
		to.servers[i].pending, to.servers[i].next = commit{}, commit{}
		add(to, "give up(server %d)", i+1)
	}
	if s.crashes > 0 {
		to := *s
		to.crashes--
		to.servers[i] = server{sent: me.sent}
		add(to, "crash(server %d)", i+1)
	}
}

// place adds the placing of a draft by server i: in a commit that it sends, or
// in one that it computes while another is pending. Drafts may be submitted
// again, and to any server.
func (p Protocol) place(s *State, i int8, d draft, add func(State, string, ...any)) {
	me := &s.servers[i]
	ahead, size := me.ahead()
	searched := size
	if p.Fault == SearchPublished {
		searched = me.size
	}
	switch {
	case p.Fault == AnswerEarly && me.pending.draft == d && s.answers[d] == waiting:
		to := *s
		to.answers[d] = answer(me.size + 1)
		add(to, "answer(server %d, %v)", i+1, d)
		return
	case ahead.has(d, searched) || d == erasureOfA && !ahead.has(evidenceA, size):
		return
	case size == places || me.next != (commit{}) || me.sent == attempts:
		return
	}
	// The draft was decided at some time since the server started, under the
	// policy that was the server's then. One that was overtaken is decided
	// again.
	for then := range me.size + 1 {
		policy := me.known.policyAt(then)
		if policy != ahead.policyAt(size) && p.Fault != IgnorePolicy {
			continue
		}
		to := *s
		c := commit{id: id{i + 1, me.sent + 1}, prev: ahead.last(size), draft: d, policy: policy}
		to.servers[i].sent++
		if me.pending == (commit{}) {
			to.send(i, c)
			if p.Fault == SignBeforeWon {
				h, n := to.servers[i].ahead()
				to.sign(&h, n)
			}
			add(to, "send(server %d, %v)", i+1, d)
			continue
		}
		to.servers[i].next = c
		if p.Fault == SendAhead {
			to.requests[i][c.id.attempt-1] = request{me.size + 1, c}
		}
		add(to, "compute(server %d, %v)", i+1, d)
	}
}

// send sends the commit to the engine as the next of server i.
func (s *State) send(i int8, c commit) {
	me := &s.servers[i]
	me.pending = c
	s.requests[i][c.id.attempt-1] = request{me.size, c}
}

// learn adds what server i learns from the next place: that it has won it, that
// it has lost it, or what another server has committed. It then signs and
// publishes.
func (p Protocol) learn(s *State, i int8, add func(State, string, ...any)) {
	me := &s.servers[i]
	c := s.cells[me.size]
	if c == (commit{}) || me.size >= s.durable && p.Fault != ReadBeforeDurable {
		return
	}
	to := *s
	now := &to.servers[i]
	now.known[now.size] = c
	now.size++
	now.pending, now.next = commit{}, commit{}
	to.sign(&now.known, now.size)
	for at, c := range now.known[:now.size] {
		if to.answers[c.draft] == waiting {
			to.answers[c.draft] = answer(at + 1)
		}
	}
	what := "follow"
	switch {
	case me.pending == (commit{}):
	case c.id == me.pending.id:
		what = "win"
	default:
		what = "lose"
	}
	if me.next != (commit{}) && (what == "win" || p.Fault == KeepSpeculation) && now.size < places {
		to.send(i, me.next)
	}
	add(to, what+"(server %d)", i+1)
}

// sign signs the checkpoint of the first size commits.
func (s *State) sign(h *history, size int8) {
	for at := range min(size, s.signedSize) {
		s.forked = s.forked || h[at] != s.signed[at]
	}
	for s.signedSize < size {
		s.signed[s.signedSize] = h[s.signedSize]
		s.signedSize++
	}
}
