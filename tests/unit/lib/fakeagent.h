/* A guest agent that lies: it listens on a unix socket, answers as qemu-guest-agent does, and does
 * one thing otherwise. In a thread of the test. */
#ifndef KVMPROFS_TESTS_FAKEAGENT_H
#define KVMPROFS_TESTS_FAKEAGENT_H

enum fakeagent_fault {
	FAKEAGENT_OK,		 /* every file holds "hello\n" */
	FAKEAGENT_TORN,		 /* every byte in a write of its own */
	FAKEAGENT_ECHO,		 /* no agent: sends back what it is sent */
	FAKEAGENT_OTHER_ID,	 /* answers the synchronisation of others only */
	FAKEAGENT_NOISE,	 /* never stops, never answers */
	FAKEAGENT_NO_INFO,	 /* guest-info is an error */
	FAKEAGENT_ODD_INFO,	 /* guest-info is not what it should be */
	FAKEAGENT_HUGE_INFO,	 /* guest-info has no end */
	FAKEAGENT_DEEP_INFO,	 /* guest-info is [[[[... */
	FAKEAGENT_ODD_HANDLE,	 /* a handle that is a string */
	FAKEAGENT_READ_FAILS,	 /* guest-file-read is an error */
	FAKEAGENT_READ_TOO_MUCH, /* more than was asked for */
	FAKEAGENT_READ_NOTHING,	 /* no bytes, and no end */
	FAKEAGENT_READ_COUNT,	 /* another count than there are bytes */
	FAKEAGENT_READ_ENDLESS,	 /* full chunks for ever */
	FAKEAGENT_NOT_BASE64,
	FAKEAGENT_BINARY, /* zeros for an answer to guest-file-read */
	FAKEAGENT_HANGS,  /* in the middle of an answer to guest-file-read */
	FAKEAGENT_CLOSES, /* likewise */
	FAKEAGENT_EXEC,	  /* has guest-exec alone; its programs never end */
	FAKEAGENT_EXEC_NO_PID,
	FAKEAGENT_EXEC_TRUNCATED,
	FAKEAGENT_EXEC_FAILS, /* status 127 and words on standard error */
	FAKEAGENT_EXEC_BINARY /* what it prints is nothing of ours */
};

struct fakeagent;

/* Fails the test when it cannot. */
struct fakeagent *fakeagent_start(const char *path, enum fakeagent_fault fault);
void fakeagent_stop(struct fakeagent *f); /* accepts NULL */

/* How many handles its clients have left open. */
int fakeagent_handles(struct fakeagent *f);

#endif
