package account

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/identity"
	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Request is what a person requests.
type Request struct {
	Incident, Type string // execute.All for kill and unkill
	Action         string
	Waits          *Wait  // that an approval or rejection answers
	Reason         string // can be empty
	By             string // the submitter
}

// ErrNotPerson reports that the submitter of a request is not a person.
var ErrNotPerson = errors.New("only a person can make this request")

// Submission returns the entry of a request.
func (r *Request) Submission(now time.Time) (muniment.Submission, error) {
	if identity.Person(r.By) == "" {
		return muniment.Submission{}, fmt.Errorf("%w, and %s is not one: use --identity-token", ErrNotPerson, r.By)
	}
	m := &munimentv1.TriageAction{
		Incident: r.Incident, Playbook: r.Type, Action: r.Action, Result: "succeeded", Irreversible: true, Actor: actor(r.By), Started: timestamppb.New(now), Detail: r.Reason,
	}
	if r.Waits != nil {
		var err error
		if m.Parameters, err = structpb.NewStruct(map[string]any{"request": r.Waits.Request, "place": r.Waits.Place}); err != nil {
			return muniment.Submission{}, err
		}
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return muniment.Submission{}, err
	}
	return muniment.Submission{Kind: kindname.TriageAction, Payload: text, IdempotencyKey: "triage-request/" + rand.Text()}, nil
}

// maxActor is the number of characters of an actor.
const maxActor = 256

func actor(submitter string) string {
	if all := []rune(submitter); len(all) > maxActor {
		return string(all[:maxActor])
	}
	return submitter
}
