package storage

// CallKey is where a call is that lives, or that ended and whose event is not durable yet.
func CallKey(call string) Key { return In(SpaceCall).Str(call) }

// SignalKey is where a signal is kept for a party of a call.
func SignalKey(call, party string, seq uint64) Key { return SignalsTo(call, party).U64(seq) }

// SignalsTo is the prefix of the signals that are kept for a party of a call.
func SignalsTo(call, party string) Key { return SignalsOf(call).Str(party) }

// SignalsOf is the prefix of the signals of a call.
func SignalsOf(call string) Key { return In(SpaceSignal).Str(call) }

// TakeSignal splits a key of SpaceSignal.
func TakeSignal(k Key) (call, party string, seq uint64, ok bool) {
	if len(k) == 0 || Space(k[0]) != SpaceSignal {
		return "", "", 0, false
	}
	call, k, ok = TakeStr(k[1:])
	if !ok {
		return "", "", 0, false
	}
	party, k, ok = TakeStr(k)
	if !ok {
		return "", "", 0, false
	}
	seq, k, ok = TakeU64(k)
	return call, party, seq, ok && len(k) == 0
}
