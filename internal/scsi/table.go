package scsi

// table lists every command there is. REPORT SUPPORTED OPERATION CODES shows it,
// and nothing else decides what is supported.
var table []*operation

// byOpcode finds operations: index by opcode; those with service actions share
// one list.
var byOpcode [256][]*operation

func init() {
	table = append(table, spcOperations...)
	table = append(table, sbcOperations...)
	for _, op := range table {
		byOpcode[op.opcode] = append(byOpcode[op.opcode], op)
	}
}

// find returns the operation of a CDB, or why there is none. With a fault in the
// CDB itself it returns none either.
func find(cdb []byte) (*operation, sense) {
	if len(cdb) < 6 || len(cdb) > MaxCDB {
		return nil, senseOpcode.atByte(0)
	}
	list := byOpcode[cdb[0]]
	if len(list) == 0 {
		return nil, senseOpcode.atByte(0)
	}
	for _, op := range list {
		if op.action == none || int(cdb[1]&0x1f) == op.action {
			return op, op.strange(cdb)
		}
	}
	return nil, senseCDB.atByte(1)
}

// strange reports a bit that the command does not know.
func (op *operation) strange(cdb []byte) sense {
	if len(cdb) < len(op.usage) {
		return senseCDB.atByte(len(cdb) - 1)
	}
	for i, mask := range op.usage[1:] {
		if cdb[i+1]&^mask != 0 {
			return senseCDB.atByte(i + 1)
		}
	}
	return sense{}
}
