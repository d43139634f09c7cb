package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	podgrpc "github.com/stefanprodan/podinfo/pkg/api/grpc"
	"github.com/stefanprodan/podinfo/pkg/api/grpc/version"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// serveGRPC starts podinfo's gRPC server and one in front of it. podinfo always
// listens on all addresses, where many pods share one network, so it gets a
// port that no other has, and the front listens where the pod should.
func serveGRPC(config podgrpc.Config, f faults, logger *zap.Logger) (*grpc.Server, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("SLUICE_POD_IP"), strconv.Itoa(config.Port)))
	if err != nil {
		return nil, err
	}
	if config.Port, err = freePort(); err != nil {
		return nil, err
	}
	inner, err := podgrpc.NewServer(&config, logger)
	if err != nil {
		return nil, err
	}
	inner.ListenAndServe()
	backend, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", config.Port),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")})))
	if err != nil {
		return nil, err
	}
	front := grpc.NewServer(
		grpc.ForceServerCodecV2(rawCodec{encoding.GetCodecV2("proto")}),
		grpc.UnaryInterceptor(f.unary), grpc.StreamInterceptor(f.stream),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error { return proxy(backend, stream) }))
	// What is called most needs no detour.
	version.RegisterVersionServiceServer(front, &podgrpc.VersionServer{})
	go func() {
		if err := front.Serve(listener); err != nil {
			logger.Fatal("gRPC server crashed", zap.Error(err))
		}
	}()
	return front, nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// proxy passes a call of any method on, message by message.
func proxy(backend *grpc.ClientConn, in grpc.ServerStream) error {
	ctx := in.Context()
	method, _ := grpc.MethodFromServerStream(in)
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md.Copy())
	}
	out, err := backend.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	go func() {
		// A failed send ends the stream, and the answers' side then knows why.
		if err := copyMessages(out.SendMsg, in.RecvMsg); err == nil {
			_ = out.CloseSend()
		}
	}()
	// Without a header there is only an error, which the first message tells.
	if header, err := out.Header(); err == nil {
		if err := in.SetHeader(header); err != nil {
			return err
		}
	}
	err = copyMessages(in.SendMsg, out.RecvMsg)
	in.SetTrailer(out.Trailer())
	return status.Convert(err).Err()
}

func copyMessages(send, receive func(any) error) error {
	for {
		var message rawMessage
		if err := receive(&message); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := send(&message); err != nil {
			return err
		}
	}
}

// rawMessage is an encoded message that nobody looks into.
type rawMessage struct{ bytes []byte }

// rawCodec passes rawMessages through and leaves all else to another codec.
type rawCodec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if message, ok := v.(*rawMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(message.bytes)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if message, ok := v.(*rawMessage); ok {
		message.bytes = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
