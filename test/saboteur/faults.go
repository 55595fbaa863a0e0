package main

// faults is what the tests must notice.
var faults = []fault{}
