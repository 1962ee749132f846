package rpc

import (
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Gates implements GateService.
type Gates struct {
	munimentv1connect.UnimplementedGateServiceHandler
	Ledger *ledger.Ledger
}
