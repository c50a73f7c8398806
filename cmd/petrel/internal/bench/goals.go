package bench

// goal is what petrel is to reach on a machine with two cores, shared with the load generator, and an
// fsync of about 4 ms.
type goal struct {
	scenario, metric string
	value            float64
	most             bool // at most; else at least
}

// goals as they were set for the durable core, and behind them those of conversations.
func goals() []goal {
	all := []goal{
		{"pairs-64", "msg/s", 25_000, false},
		{"pairs-64", "receiver p50", 10, true},
		{"pairs-64", "receiver p99", 50, true},
		{"rate", "receiver p50", 6, true},
		{"fanout-64", "deliveries/s", 80_000, false},
		{"offline", "fill msg/s", 25_000, false},
		{"offline", "drain msg/s", 50_000, false},
		{"waiting", "first message p50", 50, true},
		{"idle", "per connection", 15, true},
		{"sessions", "RSS for them", 50, true},
		{"sessions", "ready after restart", 3, true},
		{"storm", "p50 during ÷ before", 2, true},
		{"bytes", textV4, 80, true},
		{"bytes", textV5, 56, true},
		{"bytes", cborV5, 90, true},
		{"bytes", reconnectV5, 70, true},
		{"bytes", drainV5, 600, true},
		{"bytes", resumedTLS, 900, true},
		{"group-cost", "time, large ÷ small", 1.5, true},
		{"group-cost", "CPU, large ÷ small", 1.5, true},
		{"history", "in the server", 2, true},
		{"sync-1000", "in the server", 5, true},
		{"sync-1000", "longest reply", 4, true},
		{"busy", "receiver p50, busy ÷ quiet", 2, true},
		{"busy", "PUBACK p50, busy ÷ quiet", 2, true},
		{"receipts", "receipts/s at the sender", 1, true},
		{"search", "slowest kind, in the server", 50, true},
		{"indexing", "without ÷ with", 1.25, true},
		{"sdk-send", "sent/s", 5000, false},
		{"sdk-send", "caught up/s", 20_000, false},
		{"sdk-open", "first screen p50", 100, true},
		{"sdk-bytes", sdkReconnect, 70, true},
		{"sdk-bytes", sdkReconnectTLS, 900, true},
	}
	return append(all, callGoals()...)
}

// callGoals are those of calls, at the sizes that the options have without flags.
func callGoals() []goal {
	o := Defaults()
	all := []goal{
		{"calls-back", ghostRings, 0, true},
		{"calls-silent", silentP99, 300, true},
		{"calls-silent", silentMax, 300, true},
		{"calls-switch", switchTold, 3, true},
		{"calls-switch", switchUntold, 3, true},
		{"calls-ringing", "PUBACK p99", 250, true},
		{"calls-ringing", "delivery p99", 250, true},
	}
	for _, side := range sides {
		all = append(all, goal{"calls-bytes", signallingOf(side), 6 << 10, true})
	}
	for _, delay := range o.CallDelays {
		all = append(all, goal{"calls-setup", roundTrips(firstPacket, delay), 6, true})
	}
	for _, away := range o.CallAway {
		all = append(all, goal{"calls-back", rangSoon(away), 100, false})
	}
	for _, rate := range sfuRates() {
		all = append(all, goal{"calls-sfu", sfuMetric(sfuCore, rate), 75_000, false}, goal{"calls-sfu", sfuMetric(sfuRatio, rate), 0.5, false})
		if rate <= 75_000 {
			all = append(all, goal{"calls-sfu", sfuMetric(sfuLost, rate), 0, true})
		}
	}
	return all
}

func goalOf(scenario, metric string) (goal, bool) {
	for _, g := range goals() {
		if g.scenario == scenario && g.metric == metric {
			return g, true
		}
	}
	return goal{}, false
}
