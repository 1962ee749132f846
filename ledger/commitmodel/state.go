// Package commitmodel is an explicit-state model of how servers that share a
// storage engine commit, sign and publish.
//
// The model has servers that compute a commit before they know the outcome of
// the one before, a network that delays, repeats and drops requests, answers
// that get lost, servers that crash, an engine that shows what a loss of power
// can still take away, changes of policy and an erasure. [Explore] visits every
// state that these can reach and checks the invariants in each.
//
// It is small on purpose: two servers, three commits of one entry each, four
// drafts. Each [Fault] removes one rule of the protocol, and must break an
// invariant: this shows that the model can fail. The rules are those of
// docs/decisions/11-speculative-commits.md.
//
// Where a server may act at once or later, it acts at once if this promises
// more: it signs what it has won, and answers what it has signed, without
// delay.
package commitmodel

// The bounds of the model.
const (
	servers  = 2
	places   = 3 // commits in the log, each of one entry
	attempts = 3 // commits that a server may send
)

// A draft is what a caller wants recorded. The number 0 is no draft.
type draft int8

const (
	evidenceA draft = iota + 1
	evidenceB
	policyChange // a new admission policy, in force from the next place
	erasureOfA
	drafts // number of drafts, with no draft
)

func (d draft) String() string {
	return [...]string{"nothing", "evidence A", "evidence B", "the policy change", "the erasure of A"}[d]
}

// An id names the bytes of one commit: its writer, and a nonce that is never
// used again.
type id struct{ server, attempt int8 }

// A commit is one entry at one place. The zero commit is no commit.
type commit struct {
	id     id
	prev   id // of the commit that it was computed on
	draft  draft
	policy int8 // place of the policy that its draft was decided under, plus 1; 0: the initial one
}

// A history is the beginning of a log.
type history [places]commit

// policyAt returns the place of the policy in force after size commits, plus 1.
func (h *history) policyAt(size int8) int8 {
	for i := size; i > 0; i-- {
		if h[i-1].draft == policyChange {
			return i
		}
	}
	return 0
}

// has reports whether the draft is among the first size commits.
func (h *history) has(d draft, size int8) bool {
	for _, c := range h[:size] {
		if c.draft == d {
			return true
		}
	}
	return false
}

// last returns the id of the last of the first size commits.
func (h *history) last(size int8) id {
	if size == 0 {
		return id{}
	}
	return h[size-1].id
}

// A server's fields are lost when it crashes, except for the number of its
// attempts, which stands for nonces being random. A server that stops for good
// is one that takes no more steps, and needs no field.
type server struct {
	known   history // the commits that it has applied, signed and published
	size    int8    // how many
	pending commit  // sent, outcome unknown
	next    commit  // computed on pending, not sent
	sent    int8    // attempts used
}

// ahead returns the history that the server computes on: what it has applied,
// and what it hopes for.
func (s *server) ahead() (history, int8) {
	h, n := s.known, s.size
	if s.pending != (commit{}) {
		h[n] = s.pending
		n++
	}
	return h, n
}

// A request asks the engine to create the commit of one place. Once it is sent,
// the network may deliver it at any time, any number of times, or never.
type request struct {
	place  int8
	commit commit
}

// An answer is the last word to the caller of a draft.
type answer int8

// answers other than the place of the entry, plus 1
const (
	waiting answer = 0
	refused answer = -1 // nothing was recorded, and nothing will be
)

// A State is the engine, the network, the servers and what others have seen.
type State struct {
	cells    history
	durable  int8         // cells that a loss of power does not take away
	openings [drafts]bool // content in the engine, by draft

	requests [servers][attempts]request
	servers  [servers]server

	signed     history // the largest signed checkpoint's
	signedSize int8
	forked     bool // two checkpoints contradict each other
	answers    [drafts]answer

	crashes, outages int8 // that may still happen
}

// Invariants are what must hold in every reachable state.
var Invariants = []struct {
	Name  string
	Holds func(*State) bool
}{
	{"nothing is signed before it is known to be won", func(s *State) bool { return s.signedSize <= s.durable }},
	{"one history", func(s *State) bool {
		if s.forked {
			return false
		}
		for i := int8(0); i < s.signedSize; i++ {
			if s.cells[i] != s.signed[i] {
				return false
			}
		}
		return true
	}},
	{"each commit follows the one that it was computed on", func(s *State) bool {
		for i := range s.cells {
			if c := s.cells[i]; c != (commit{}) && c.prev != s.cells.last(int8(i)) {
				return false
			}
		}
		return true
	}},
	{"an acknowledged entry is in every later state", func(s *State) bool {
		for d := evidenceA; d < drafts; d++ {
			if at := s.answers[d]; at > 0 && s.cells[at-1].draft != d {
				return false
			}
		}
		return true
	}},
	{"what was refused is not recorded", func(s *State) bool {
		for d := evidenceA; d < drafts; d++ {
			if s.answers[d] == refused && s.cells.has(d, places) {
				return false
			}
		}
		return true
	}},
	{"an entry is recorded once", func(s *State) bool {
		for i, c := range s.cells {
			if c != (commit{}) && s.cells.has(c.draft, int8(i)) {
				return false
			}
		}
		return true
	}},
	{"an entry names the policy in force at its place", func(s *State) bool {
		for i, c := range s.cells {
			if c != (commit{}) && c.policy != s.cells.policyAt(int8(i)) {
				return false
			}
		}
		return true
	}},
	{"what was erased stays erased", func(s *State) bool {
		return s.answers[erasureOfA] <= 0 || !s.openings[evidenceA]
	}},
}

// broken returns the name of the first invariant that does not hold, or "".
func (s *State) broken() string {
	for i := range Invariants {
		if !Invariants[i].Holds(s) {
			return Invariants[i].Name
		}
	}
	return ""
}
