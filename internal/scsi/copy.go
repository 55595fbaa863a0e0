package scsi

// copies are the results of EXTENDED COPY that RECEIVE COPY RESULTS can ask for.
type copies struct{}
